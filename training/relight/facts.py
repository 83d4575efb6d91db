"""What is said of a relighting: captions, its light in words and numbers, all that was chosen."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.geometry import GeometryConfig
from training.model.folder import LoadedModel
from training.relight.generate import weights
from training.relight.light import Keyframes, LightLike
from training.relight.options import Mode, RelightOptions

_CAPTION = 28
"""Letters of a light's name that a panel has room for."""


def caption_of(light: LightLike, mode: Mode) -> str:
    """What the grid says of the drawings that drive the portrait."""
    if mode != "relight":
        return "shading" if mode == "animate" else "landmarks"
    name = Path(light).name if isinstance(light, str | Path) else ""
    return f"light: {name}" if 0 < len(name) <= _CAPTION else "light"


def choices(
    model: LoadedModel, options: RelightOptions, geometry: GeometryConfig
) -> dict[str, Any]:
    """All that was chosen, by whom ever, in JSON types."""
    light, identity = weights(model.recipe, options)
    parameter = next(model.lcvd.parameters())
    return {
        "mode": options.mode,
        "align": options.align,
        "background": options.background,
        "intensity": options.intensity,
        "guidance": light,
        "identity": identity,
        "steps": options.steps or model.recipe.sampling.steps,
        "seed": options.seed,
        "landmarks": options.landmarks,
        "geometry": geometry.model,
        "matting": options.matting.model,
        "device": parameter.device.type,
        "precision": str(parameter.dtype).removeprefix("torch."),
    }


def in_words(light: LightLike) -> str:
    """A light in few words."""
    text = str(light) if isinstance(light, str | Path) else repr(np.asarray(light).tolist())
    return text if len(text) <= 200 else text[:197] + "..."


def coefficients(stops: Keyframes, path: NDArray[np.float32]) -> list[Any]:
    """The light (9, 3), or where it changes lights over time: what ``--light`` reads again.

    These are keyframes, or the light of every frame, whichever are fewer.
    """
    if (path == path[0]).all():
        return _rounded(path[0])
    if len(stops) >= len(path):
        return _rounded(path)
    return [{"frame": round(at, 5), "light": _rounded(light)} for at, light in stops.items()]


def _rounded(light: NDArray[Any]) -> list[Any]:
    # Floats of 32 bits, however rounded, are told in seventeen digits.
    numbers: list[Any] = light.astype(np.float64).round(5).tolist()
    return numbers
