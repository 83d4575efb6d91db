"""What stages on the normal form share: its landmarks, and a film of pictures drawn from them."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.clip import Clip
from stages.encode import VideoWriter

DRAWING_GOP = 2
"""Frames from key frame to key frame of a drawn film. Drawings are small (3 kB a frame, twice as
much as with every sixteenth), and a training window decodes 26 of their frames rather than 68."""


def portrait_landmarks(clip: Clip) -> NDArray[np.float32]:
    """The clip's landmarks in pixels of the normal form.

    Returns:
        float32 (T, 478, 3): x right and y down, the centre of pixel ``i`` at ``i``; z in
        pixels as wide as those of x, smaller is nearer, 0 at the centre of the head.
    """
    points = clip.arrays("landmarks", "landmarks.npz")["points"]
    return place(points, clip.portrait.transform)


def place(points: NDArray[np.float32], transform: NDArray[np.float64]) -> NDArray[np.float32]:
    """Carry points (..., 3) through a (2, 3) affine map of x and y; z grows as x does."""
    xy = points[..., :2] @ transform[:, :2].T + transform[:, 2]
    z = points[..., 2:] * transform[0, 0]
    return np.concatenate([xy, z], axis=-1).astype(np.float32)


def write_film(clip: Clip, name: str, pictures: Iterable[NDArray[np.uint8]], *, crf: int) -> Path:
    """Encode pictures of the normal form beside the clip's video, at its rate.

    Args:
        clip: Whose film it is.
        name: The artifact's name.
        pictures: uint8 RGB (size, size, 3); drawn one at a time.
        crf: Constant rate factor of x264.
    """
    path = clip.scratch / name
    facts = clip.facts["frame"]
    side = facts["size"]
    with VideoWriter(
        path,
        size=(side, side),
        fps=Fraction(facts["fps"]),
        crf=crf,
        gop=DRAWING_GOP,
        drawing=True,
    ) as film:
        for picture in pictures:
            film.write(picture)
    return path
