"""What a metric is: features of films, statistics over them, a value; and what is said of it.

Frames are looked at once: all *extractors* see them in one decode pass, and what they find is kept
by content. *Metrics* are cheap functions of these features, so that adding one recomputes nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from evaluation.versioned import Versioned

Features = Mapping[str, NDArray[Any]]
"""What an extractor found in a film, by name: arrays of numbers, frames (or clips) first."""

Grade = Literal["standard", "embedded"]

Role = Literal["output", "driving", "reference", "target"]
"""Whose frames: the method's film, the driving film, the portrait that moves (the driving film
itself where it is only relit), and the picture whose light is wanted."""


@dataclass(frozen=True)
class MetricInfo:
    """What is said of a metric, in every table and record.

    Attributes:
        name: Its key: lower case, unique.
        title: Heading of its column.
        higher_is_better: Which way is better.
        unit: Of its values; empty for plain numbers.
        range: Least and largest value that it can take; infinite where there is none.
        estimator: Which network or formula measures it, in a few words.
        grade: `standard`, the field's own estimator; `embedded`, a stand-in without its weights,
            which is marked wherever it is shown.
        definition: What is computed, in a sentence or two, with its source.
        weights: Identity of each weight, by name.
        published: Column of the published tables whose estimator this is; empty for none.
    """

    name: str
    title: str
    higher_is_better: bool
    unit: str
    range: tuple[float, float]
    estimator: str
    grade: Grade
    definition: str
    weights: Mapping[str, str] = field(default_factory=dict)
    published: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON types; an infinite bound is None."""
        low, high = (bound if np.isfinite(bound) else None for bound in self.range)
        return {**asdict(self), "range": [low, high]}


class FeaturePass(ABC):
    """One extractor on its way through one film."""

    @abstractmethod
    def add(self, frames: NDArray[np.uint8]) -> None:
        """See the next frames (n, S, S, 3), RGB, however many: the result does not depend on n."""

    @abstractmethod
    def finish(self) -> dict[str, NDArray[Any]]:
        """The film's features, once all of its frames were seen.

        A frame of which nothing can be said (no face) has NaN in its place.
        """


class Extractor(Versioned, ABC):
    """Turns the frames of a film into features.

    A subclass states its ``name``, and raises ``version`` whenever its code gives other numbers.

    Where it runs is no part of its digest. A network, in float32, finds on a GPU what it finds on a
    processor to 1e-4 of its largest number, as tests marked ``cuda`` ask, but not to the bit.
    """

    what = "extractor"

    @abstractmethod
    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film of that many frames of (size, size) pixels."""


@dataclass(frozen=True)
class CaseFeatures:
    """What was found in the films of one cell: all that a metric may ask for.

    Attributes:
        found: Features by role, then by the extractor's name. `target` is there where the light
            was given as a picture.
        light: Coefficients of the light that was wanted, (9, 3); None for animation.
        facts: Numbers of the generation itself: ``seconds_per_frame``, ``peak_bytes``.
        films: Roles in which the cell has a film though nothing may have been found in it.
    """

    found: Mapping[Role, Mapping[str, Features]]
    light: NDArray[np.float32] | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    films: frozenset[Role] = frozenset()

    def has(self, role: Role) -> bool:
        """Whether the cell has a film in that role."""
        return role in self.films or role in self.found

    def of(self, role: Role, extractor: str) -> Features:
        """What the extractor of that name found in one of the films.

        Raises:
            ValueError: Nothing: it failed, nobody looked, or the cell has no such film.
        """
        try:
            return self.found[role][extractor]
        except KeyError:
            raise ValueError(f"{extractor} found nothing in the {role} film") from None


class Metric(ABC):
    """What every metric says of itself."""

    @property
    @abstractmethod
    def info(self) -> MetricInfo:
        """What is said of it."""

    @abstractmethod
    def extractors(self) -> Mapping[Role, Extractor]:
        """Whose frames are looked at, and how. Extractors of one digest are run once a film."""


class ClipMetric(Metric):
    """A metric with a value for each clip: the mean over its frames."""

    @abstractmethod
    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """Values (k,) of the clip's frames, or of its pairs of frames; NaN where there is none."""


class Statistics(ABC):
    """What a set metric keeps of many films; merging in any order gives the same."""

    @abstractmethod
    def merged(self, other: Self) -> Self:
        """Both together."""


@dataclass(frozen=True)
class SetValue:
    """A set metric's value.

    Attributes:
        value: The number.
        n: Outputs that it stands on (frames, or clips).
        reals: Real ones that they were held against.
        warning: Why it should not be trusted, in a sentence; empty where it may be.
    """

    value: float
    n: int
    reals: int
    warning: str = ""


class SetMetric(Metric):
    """A metric with one value for all the films of a method, held against the real ones."""

    draws: int = 200
    """Bootstrap draws of its interval: fewer where one takes seconds; 0 for no interval."""

    @abstractmethod
    def statistics(self, features: Features) -> Statistics:
        """Of one film's features."""

    @abstractmethod
    def value(self, outputs: Statistics, reals: Statistics) -> SetValue:
        """The distance of the two.

        Raises:
            ValueError: They are too few for any value; the message says how many are needed.
        """

    def redrawn(self, outputs: Statistics, reals: Statistics) -> float:
        """The same of one bootstrap draw, in which films may be more than once.

        Only the spread of many such values is used. A metric may take a faster way that costs
        digits, or says nothing of what `value` warns of.

        Raises:
            ValueError: As `value`.
        """
        return self.value(outputs, reals).value
