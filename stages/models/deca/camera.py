"""DECA's camera: weak perspective over the crop, and from there to the whole picture.

Three frames: FLAME's (metres; x right, y up, z towards the viewer); the crop's and the
picture's, both image frames in which y points down, smaller z is nearer, and x and y run from
-1 to 1 between the edges.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.models.deca.crop import SIDE
from stages.models.shading import camera_frame

_HALF = SIDE / 2
_DOWN = np.array([1.0, -1.0])  # the crop's y points down, FLAME's up


def project(vertices: NDArray[np.float32], cam: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring points from FLAME's frame into the crop's.

    ``x' = s (x + tx)``, ``y' = -s (y + ty)``, ``z' = -s z``.

    Args:
        vertices: (T, V, 3).
        cam: (T, 3): scale s, then tx and ty.

    Returns:
        float32 (T, V, 3).
    """
    scale, shift = cam[:, None, :1], np.pad(cam[:, None, 1:], ((0, 0), (0, 0), (0, 1)))
    return camera_frame(scale * (vertices + shift))


def to_picture(
    points: NDArray[np.float32], tform: NDArray[Any], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Bring points from the crop's frame into the whole picture's.

    As everyone does since DECA, -1 and 1 are taken for pixels 0 and 224 of the crop here,
    although the crop was cut for 0 and 223; and z keeps the crop's unit.

    Args:
        points: (T, V, 3).
        tform: (T, 3, 3), from pixels of the picture to those of the crop.
        size: (height, width) of the picture in pixels.

    Returns:
        float32 (T, V, 3).
    """
    back = np.linalg.inv(tform.astype(np.float64)).astype(np.float32)
    pixels = (points[..., :2] * np.float32(0.5) + np.float32(0.5)) * np.float32(SIDE)
    pixels = pixels @ np.swapaxes(back[:, :2, :2], 1, 2) + back[:, None, :2, 2]
    edges = np.array(size[::-1], np.float32)
    return np.concatenate([pixels / edges * 2 - 1, points[..., 2:]], axis=-1)


def in_picture(cam: NDArray[Any], tform: NDArray[Any]) -> NDArray[np.float64]:
    """What a camera over a crop is over the picture: where it shows the head, and how large.

    Unlike `cam`, this does not change when the crop moves over a head that stands still.

    Args:
        cam: (T, 3).
        tform: (T, 3, 3).

    Returns:
        float64 (T, 3): x and y of FLAME's origin in pixels, and pixels a metre.
    """
    scale, shift = np.split(cam.astype(np.float64), [1], axis=1)
    zoom, offset = _similarity(tform)
    origin = (_HALF * (1 + scale * shift * _DOWN) - offset) / zoom
    return np.concatenate([origin, _HALF * scale / zoom], axis=1)


def over_crop(places: NDArray[np.float64], tform: NDArray[Any]) -> NDArray[np.float32]:
    """The inverse of `in_picture`: cameras (T, 3) over crops."""
    zoom, offset = _similarity(tform)
    scale = places[:, 2:] * zoom / _HALF
    shift = ((places[:, :2] * zoom + offset) / _HALF - 1) / scale * _DOWN
    return np.concatenate([scale, shift], axis=1).astype(np.float32)


def _similarity(tform: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Zoom (T, 1) and offset (T, 2) of transforms that do not turn, as those of crops."""
    wide = tform.astype(np.float64)
    return wide[:, 0, :1], wide[:, :2, 2]
