"""How much of the generated portrait shows, pixel by pixel, and how much of the original ground.

LCVD generates the whole square, ground and all, so that still lettering crawls. Here the ground
stays the original's, to the bit, wherever no portrait is.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import tee
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.matting import MattingModel
from training.relight.crop import FIT_SIZE, FaceSquare

Background = Literal["composite", "regenerate"]
"""`composite`: the portrait on its original ground; `regenerate`: the whole square generated, as
LCVD does it."""

_FAINT, _SOLID = 8, 247  # of 255: a matte's nets are never quite sure of what is certain

Picture = NDArray[np.uint8]
Weights = Iterator[NDArray[np.float32]]
Look = tuple[Picture, Picture]
"""A frame's ground, of full size, and the generated square (S, S, 3) that belongs into it."""


def portrait_share(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A matte of 0..255 as a share of 0..1, exactly 0 and 1 where it all but is."""
    share = (mask.astype(np.float32) - _FAINT) / (_SOLID - _FAINT)
    return share.clip(0, 1)


def over_own_ground(looks: Iterable[Look], square: FaceSquare, matting: MattingModel) -> Weights:
    """Weights of portraits generated in the place of the ground's own: the ground's matte.

    Args:
        looks: Their grounds are a film's frames.
        square: Where the portrait is in them.
        matting: Mattes them.
    """
    for mask in matting.masks((square.cut(ground) for ground, _ in looks), FIT_SIZE):
        yield portrait_share(mask)


def over_still_ground(
    looks: Iterable[Look], reference: NDArray[np.uint8], matting: MattingModel
) -> Weights:
    """Weights of portraits that move over the ground of one picture.

    The original ground is known only where the reference's portrait is not, and wanted only where
    the generated one is not: it counts ``(1 - a_reference) (1 - a_generated)``.

    Args:
        looks: Their grounds are one and the same.
        reference: Matte (`FIT_SIZE`, `FIT_SIZE`) of the reference's square.
        matting: Mattes the generated portraits.
    """
    bare = 1 - portrait_share(reference)
    for mask in matting.masks((portrait for _, portrait in looks), FIT_SIZE):
        yield 1 - bare * (1 - portrait_share(mask))


def everywhere(looks: Iterable[Look]) -> Weights:
    """Weights of squares that replace their ground, too."""
    for _ in looks:
        yield np.ones((FIT_SIZE, FIT_SIZE), np.float32)


def composited(
    looks: Iterable[Look], square: FaceSquare, weigh: Callable[[Iterable[Look]], Weights]
) -> Iterator[Picture]:
    """Paste portraits into their grounds.

    A matting model may look ahead by some frames: so many looks are held.

    Args:
        looks: A ground and a portrait a frame.
        square: Where the portraits belong.
        weigh: Gives the portraits' weights.

    Yields:
        The grounds, each with its portrait.
    """
    looks, seen = tee(looks)
    for (ground, portrait), weight in zip(looks, weigh(seen), strict=True):
        yield square.paste(ground, portrait, weight)
