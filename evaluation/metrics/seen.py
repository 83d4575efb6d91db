"""Landmarks of single frames, found once for all extractors that ask within one pass."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stages.models.faces import face_landmarks

_KEPT = 32  # frames; extractors look at them in chunks of 16, one extractor after the other


def seen_landmarks(frame: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """What `stages.models.faces.face_landmarks` finds in a frame (S, S, 3), remembered a while.

    Returns:
        (478, 3), pixels, not to be written to; None where there is no face.
    """
    return _landmarks(frame.tobytes(), frame.shape)


@lru_cache(_KEPT)
def _landmarks(pixels: bytes, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    points = face_landmarks(np.frombuffer(pixels, np.uint8).reshape(shape))
    if points is not None:
        points.flags.writeable = False
    return points
