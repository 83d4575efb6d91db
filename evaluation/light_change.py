"""What another light changed: how much of the face, how little of the ground.

Two films of the same clip, lit in two ways, are compared pixel by pixel, within the portrait's
matte and outside it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.frames import SourceFrames, cut_portrait
from stages.matting import MattingConfig, MattingModel, matting_model
from training.relight.crop import FIT_SIZE
from training.relight.results import RelightResult

_PORTRAIT, _GROUND = 247, 8
"""Mattes from and up to which a pixel counts as the portrait's, and as the ground's."""


@dataclass(frozen=True)
class LightChange:
    """Mean absolute differences between two films, in levels of 255.

    Attributes:
        portrait: Within the portrait, in every frame.
        ground: Outside it.
        frames: Frames that were compared.
    """

    portrait: float
    ground: float
    frames: int

    def __str__(self) -> str:
        return (
            f"{self.portrait:.2f} levels of 255 in the portrait,"
            f" {self.ground:.2f} in the ground ({self.frames} frames)"
        )


def relit_change(
    one: RelightResult, other: RelightResult, matting: MattingModel | None = None
) -> LightChange:
    """Compare two relightings of one film in its own frames, within the face's square.

    Args:
        one: A film, as it was written: coded, so that its ground is not the driver's to the bit.
        other: The same with another light.
        matting: Mattes the driving film; the embedded model without.

    Raises:
        ValueError: They are not of one film, or show no portrait or no ground.
    """
    driving, crop = one.facts["driving"], one.facts["crop"]
    if (other.facts["driving"], other.facts["crop"]) != (driving, crop):
        raise ValueError(f"{one.output} and {other.output} are not of one film")
    films = [SourceFrames(Path(path), budget=0) for path in (one.output, other.output, driving)]
    x, y, side, _ = crop
    first, second, frames = (
        (cut_portrait(frame, (x, y, side, side), FIT_SIZE) for frame in islice(film, len(films[0])))
        for film in films
    )
    return light_change(
        first, second, (matting or matting_model(MattingConfig())).masks(frames, FIT_SIZE)
    )


def light_change(
    one: Iterable[NDArray[np.uint8]],
    other: Iterable[NDArray[np.uint8]],
    mattes: Iterable[NDArray[np.uint8]],
) -> LightChange:
    """Compare two films of equal length.

    Args:
        one: Frames (H, W, 3).
        other: Frames of the same size.
        mattes: The portrait's alpha in each, uint8 (H, W).

    Raises:
        ValueError: The films have no frames, or nowhere a portrait or a ground.
    """
    sums, counts, frames = np.zeros(2), np.zeros(2), 0
    for first, second, matte in zip(one, other, mattes, strict=True):
        change = np.abs(first.astype(np.int16) - second).mean(axis=2)
        for place, region in enumerate((matte >= _PORTRAIT, matte <= _GROUND)):
            sums[place] += change[region].sum()
            counts[place] += region.sum()
        frames += 1
    if not counts.all():
        raise ValueError(f"{frames} frames show {counts[0]:.0f} pixels of portrait")
    portrait, ground = (sums / counts).tolist()
    return LightChange(portrait, ground, frames)
