"""What a stage is: a pure step on one clip, with a config, resources and a fingerprint."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import isabstract
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from infra.digests import digest_json
from infra.engine.base import Resources
from infra.tables import Table
from infra.weights import identity
from stages.clip import Clip
from stages.models.offer import Offer


class StageConfig(Table):
    """Base of every stage's config."""

    pace: ClassVar[frozenset[str]] = frozenset()
    """Fields that decide how fast a result comes, never which."""

    def table(self) -> "ModelTable":
        """The table of the model that is chosen: the field called as `model` says."""
        table: ModelTable = getattr(self, getattr(self, "model"))  # noqa: B009 - a subclass's field
        return table

    def deciding(self) -> dict[str, Any]:
        """What decides the results, in JSON types.

        That is all but the tables of models not chosen, and the fields named in `pace`.
        """
        values = self.model_dump(mode="json", exclude=set(self.pace))
        for name, value in self:
            if isinstance(value, ModelTable):
                if name == values["model"]:
                    values[name] = value.deciding()
                else:
                    del values[name]
        return values


class ModelTable(StageConfig):
    """Base of the table of one model's own options, ``[<stage>.<model>]``."""


@dataclass
class Product:
    """What a stage made of a clip.

    Attributes:
        facts: Small JSON values, kept in the outcome's row.
        files: Artifact name (``"video.mp4"``: the member of a sample) to the file written
            under the clip's scratch folder.
        score: The number behind a decision, where there is one.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    score: float | None = None


class Rejected(Exception):  # noqa: N818 - a decision, not an error
    """Raised by a stage to turn a clip down, with the reason in words.

    Args:
        reason: One sentence for a person: what was found, and what was asked for.
        score: The number behind the decision, where there is one.
        facts: Whatever else was learnt.
    """

    def __init__(
        self, reason: str, *, score: float | None = None, facts: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.score = score
        self.facts = dict(facts or {})


C = TypeVar("C", bound=StageConfig)


class Stage(ABC, Generic[C]):
    """A pure step on one clip.

    A subclass states its ``name``, its ``Config``, what it ``needs`` (whose products it
    reads: their fingerprints enter its own) and what it runs ``after`` (whose decision it
    awaits, without reading anything), and raises ``version`` whenever its code gives other
    results. Everything about paths, retries and storage is somebody else's.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ()
    after: ClassVar[tuple[str, ...]] = ()
    resources: ClassVar[Resources] = Resources()
    Config: ClassVar[type[StageConfig]]

    def __init_subclass__(cls) -> None:
        """Refuse a stage that forgot to say who it is, where it is defined."""
        super().__init_subclass__()
        if not isabstract(cls):
            for word in ("name", "Config"):
                if not hasattr(cls, word):
                    raise TypeError(f"stage {cls.__name__} must state its `{word}`")

    def __init__(self, config: C) -> None:
        self.config = config

    def offers(self) -> tuple[Offer, ...]:
        """The models that the config chooses."""
        return ()

    def weights(self) -> tuple[str, ...]:
        """Names (in the weights registry) of the files that the chosen models load."""
        return tuple(name for offer in self.offers() for name in offer.weights)

    def fingerprint(self, upstream: Mapping[str, str]) -> str:
        """Digest of all that decides this stage's results.

        Args:
            upstream: Fingerprints of the stages in ``needs``, by name.

        Returns:
            16 hexadecimal digits.
        """
        return digest_json(
            {
                "stage": self.name,
                "version": self.version,
                "config": self.config.deciding(),
                "weights": {name: identity(name) for name in self.weights()},
                "needs": {name: upstream[name] for name in self.needs},
            }
        )[:16]

    def setup(self) -> None:
        """Load models; called once, in the worker."""

    @abstractmethod
    def process(self, clip: Clip) -> Product:
        """Make this stage's product of one clip.

        Raises:
            Rejected: The clip is turned down; the stages that follow do not run.
            SourceError: The clip's source cannot be read now.
        """

    def close(self) -> None:
        """Let go of what ``setup`` loaded."""
