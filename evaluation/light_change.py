"""What another light changed: how much of the face, how little of the ground.

Two films of the same clip, lit in two ways, are compared pixel by pixel, within the portrait's
matte and outside it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FACE, _GROUND = 230, 0
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
        for place, region in enumerate((matte >= _FACE, matte <= _GROUND)):
            sums[place] += change[region].sum()
            counts[place] += region.sum()
        frames += 1
    if not counts.all():
        raise ValueError(f"{frames} frames show {counts[0]:.0f} pixels of portrait")
    portrait, ground = (sums / counts).tolist()
    return LightChange(portrait, ground, frames)
