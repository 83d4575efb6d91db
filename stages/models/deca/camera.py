"""DECA's camera: weak perspective over the crop, and from there to the whole picture.

Three frames: FLAME's (metres; x right, y up, z towards the viewer); the crop's and the
picture's, both image frames in which y points down, smaller z is nearer, and x and y run from
-1 to 1 between the edges.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stages.models.deca.coefficients import Coefficients
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


@dataclass(frozen=True)
class Placement:
    """Where a head lies in the picture, whatever crop it was measured in.

    DECA's camera (s, x, y) puts FLAME's origin at ``112 (1 + s (x, -y))`` of the crop, which
    tform A cut out of the picture: so ``p = A^-1`` of that, and ``k = 112 s / sqrt|det A|``.
    Unlike the camera, neither changes when the crop moves over a head that stands still.

    Attributes:
        size: float64 (T,), pixels of the picture for one of FLAME's units (metres).
        place: float64 (T, 2), pixels, of FLAME's origin.
    """

    size: NDArray[np.float64]
    place: NDArray[np.float64]

    @classmethod
    def of(cls, face: Coefficients) -> Self:
        """The placement that camera and crop of a face amount to."""
        linear, shift = _affine(face.tform)
        camera = face.cam.astype(np.float64)
        scale, offset = camera[:, :1], camera[:, 1:]
        crop = _HALF * (1 + scale * offset * _DOWN)
        place = np.linalg.inv(linear) @ (crop - shift)[..., None]
        return cls(_HALF * scale[:, 0] / np.sqrt(np.abs(np.linalg.det(linear))), place[..., 0])

    def camera(self, tform: NDArray[Any]) -> NDArray[np.float32]:
        """DECA's camera, float32 (T, 3), that says the same of crops ``tform`` (T, 3, 3)."""
        linear, shift = _affine(tform)
        scale = self.size[:, None] * np.sqrt(np.abs(np.linalg.det(linear)))[:, None] / _HALF
        crop = (linear @ self.place[..., None])[..., 0] + shift
        offset = (crop / _HALF - 1) * _DOWN / scale
        return np.concatenate([scale, offset], axis=1).astype(np.float32)


def _affine(tform: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The linear part (T, 2, 2) and the shift (T, 2) of crops (T, 3, 3)."""
    exact = tform.astype(np.float64)
    return exact[:, :2, :2], exact[:, :2, 2]
