"""What a method needs of the machine, and the words in which it says that it has not."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from infra import weights
from stages.base import Stage
from stages.geometry import Geometry, GeometryConfig
from stages.landmarks import Landmarks, LandmarksConfig
from stages.matting import Matting, MattingConfig
from stages.models.faces import FaceModelName

_HINT = "pip install 'limelight[models,train]'"


def lacking(packages: Iterable[str], names: Iterable[str]) -> str:
    """What is missing, in a sentence; empty where nothing is. Imports and loads nothing.

    Args:
        packages: Modules that are imported.
        names: Weights that are loaded. What is fetched at its first use is never missing.

    Raises:
        UsageError: No weight has one of the names.
    """
    absent = [name for name in dict.fromkeys(packages) if find_spec(name) is None]
    if absent:
        return f"it needs {', '.join(absent)}, not installed here: {_HINT}"
    standings = [weights.standing(name) for name in dict.fromkeys(names)]
    missing = [
        each.weight.name
        for each in standings
        if each.state != "present" and not each.weight.embedded
    ]
    if missing:
        listed = ", ".join(missing)
        return f"it needs the weights {listed}: limelight weights pull {' '.join(missing)}"
    return ""


def face_stages(
    landmarks: FaceModelName, geometry: GeometryConfig, matting: MattingConfig
) -> tuple[Stage[Any], ...]:
    """The stages of a build that know what models a face is found, fitted and matted with."""
    found = LandmarksConfig(model=landmarks)
    return Landmarks(found), Geometry(geometry), Matting(matting)


def weights_of_stages(stages: Iterable[Stage[Any]]) -> tuple[str, ...]:
    """Names of the weights that the stages' models load, each once."""
    return tuple(dict.fromkeys(name for stage in stages for name in stage.weights()))


def packages_of_stages(stages: Iterable[Stage[Any]]) -> tuple[str, ...]:
    """Modules beyond the core that the stages' models import, each once."""
    offers = [offer for stage in stages for offer in stage.offers()]
    return tuple(dict.fromkeys(name for offer in offers for name in offer.packages))


def versions_of_stages(stages: Iterable[Stage[Any]]) -> dict[str, int]:
    """Version of the code of each stage, by its name: a part of what decides a result."""
    return {stage.name: stage.version for stage in stages}
