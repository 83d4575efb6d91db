"""The stages of a clip, in order; a new stage is a new file and a line here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.engine.base import Resources
from infra.errors import UsageError
from infra.weights import prepare
from stages.base import Stage
from stages.frame import Frame
from stages.geometry import Geometry
from stages.kpmap import Kpmap
from stages.landmarks import Landmarks
from stages.matting import Matting
from stages.probe import Probe
from stages.quality import Quality

STAGES: tuple[type[Stage[Any]], ...] = (
    Probe,
    Quality,
    Landmarks,
    Frame,
    Matting,
    Geometry,
    Kpmap,
)
"""Every stage of a clip, each after those that it needs."""


@dataclass(frozen=True)
class Group:
    """Neighbouring stages that ask for the same resources, and so share one worker.

    Attributes:
        name: The stages' names joined by ``+``; also the pool's name.
        stages: Names, in order.
        resources: What a worker of the group asks of the cluster.
    """

    name: str
    stages: tuple[str, ...]
    resources: Resources


def require(stages: Iterable[Stage[Any]], resources: Mapping[str, Resources]) -> None:
    """Make sure, before any work starts, that all stages will find what they need.

    Small weights are fetched; a pickled one is converted, which workers never do.

    Args:
        stages: The stages.
        resources: What each stage's worker will ask of the cluster, by name.

    Raises:
        UsageError: A package is missing, or a GPU is not asked for that a model cannot do without.
        WeightsError: Weights are missing or wrong; all of them are named.
    """
    names: dict[str, None] = {}
    for stage in stages:
        for offer in stage.offers():
            offer.check()
            asked = resources.get(stage.name, stage.resources)
            if offer.gpu and not asked.num_gpus:
                raise UsageError(
                    f"[{stage.name}] names what runs on a GPU only, and asks for none",
                    hint=f"set num_gpus in [engine.resources.{stage.name}], e.g. num_gpus = 0.25",
                )
        names |= dict.fromkeys(stage.weights())
    prepare(list(names))


def fingerprints(stages: Iterable[Stage[Any]]) -> dict[str, str]:
    """Fingerprint of each stage by name, upstream ones first."""
    known: dict[str, str] = {}
    for stage in stages:
        known[stage.name] = stage.fingerprint(known)
    return known


def groups(
    stages: Sequence[Stage[Any]], resources: Mapping[str, Resources] | None = None
) -> list[Group]:
    """Cut the chain of stages wherever the resources asked for change.

    Args:
        stages: In order.
        resources: What to ask instead of a stage's own declaration, by stage name.
    """
    wanted = [(resources or {}).get(stage.name, stage.resources) for stage in stages]
    cut: list[tuple[list[str], Resources]] = []
    for stage, asks in zip(stages, wanted, strict=True):
        if cut and cut[-1][1] == asks:
            cut[-1][0].append(stage.name)
        else:
            cut.append(([stage.name], asks))
    return [Group("+".join(names), tuple(names), asks) for names, asks in cut]
