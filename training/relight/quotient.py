"""The change of light that a model makes, laid over a film's own pixels.

A generated portrait is as fine as its model: a film of 2,000 pixels comes back with the detail of
512, one of a small model as a blur. Where the film itself is relit, its pixels are there, and only
their light has to change. So the model generates the portrait twice from the same noise, under the
film's own light and under the new one, and their ratio, smoothed, is put on the film: a quotient
image (Shashua and Riklin-Raviv 2001), whose two pictures share the model's faults.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from infra.errors import UsageError
from training.recipe import Detail
from training.relight.composite import Background, Picture

_REACH = 1 / 24
"""Standard deviation of the smoothing, in sides of a picture: light on a face is smooth."""

_FLOOR = 24.0
"""Levels of 255 added above and below: the ratio of two blacks says nothing of the light."""

_MOST = 3.0
"""Factor by which a pixel is brightened or darkened at most."""


def chosen_detail(
    asked: Detail | None, usual: Detail, *, relit: bool, reference: bool, background: Background
) -> Detail:
    """Whose pixels are shown: a light can be laid over those of the film's own portrait alone.

    Args:
        asked: What the user wants; None leaves it to the model.
        usual: What the model asks for, where it can be.
        relit: Whether the light is to change at all.
        reference: Whether the portrait is that of a reference which is not in the film.
        background: What is around the portrait.

    Raises:
        UsageError: There is no film whose own pixels could be kept.
    """
    why = ""
    if reference:
        why = "the portrait of --reference is not in the film"
    elif not relit:
        why = "no light is changed"
    elif background == "regenerate":
        why = "--background regenerate shows the model's own pixels"
    if why and asked == "original":
        raise UsageError(
            f"--detail original: {why}",
            hint="leave --detail out, or relight the film itself on its own ground:"
            " --mode relight, no --reference, no --background",
        )
    return "generated" if why else asked or usual


def light_laid_over(
    own: Iterable[Picture], before: Iterable[Picture], after: Iterable[Picture]
) -> Iterator[Picture]:
    """Pictures under the light that changed from ``before`` to ``after``.

    Args:
        own: uint8 (S, S, 3), the film's own squares.
        before: uint8 (s, s, 3), the same generated under the film's light.
        after: The same, generated under the new light.

    Yields:
        uint8 (S, S, 3).
    """
    for picture, old, new in zip(own, before, after, strict=True):
        gain = cv2.resize(_gain(old, new), picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        yield (picture * gain).round().clip(0, 255).astype(np.uint8)


def _gain(before: Picture, after: Picture) -> NDArray[np.float32]:
    """New brightness by old, float32 (s, s, 3)."""
    ratio = (_smooth(after) + _FLOOR) / (_smooth(before) + _FLOOR)
    return np.clip(ratio, 1 / _MOST, _MOST).astype(np.float32)


def _smooth(picture: Picture) -> NDArray[np.float32]:
    reach = _REACH * len(picture)
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), reach).astype(np.float32)
