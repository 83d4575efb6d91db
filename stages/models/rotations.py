"""Rotations in space: between axis-angle vectors and matrices, and smoothed over time.

All functions work on stacks and in float64. An axis-angle vector points along the axis and is
as long as the angle, in radians (FLAME's poses); a matrix turns column vectors.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.models.pose import best_rotation
from stages.smoothing import smooth_series


def matrices(axis_angles: NDArray[Any]) -> NDArray[np.float64]:
    """Rodrigues' formula, exact down to no rotation at all.

    ``R = I + sin(a)/a K + (1 - cos(a))/a^2 K^2`` with K the cross product with the vector and
    a its length.

    Args:
        axis_angles: (..., 3), radians; of any length.

    Returns:
        Proper rotations, (..., 3, 3).
    """
    vectors = np.asarray(axis_angles, np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    # Both ratios by way of sinc, which knows its limit at 0; 1 - cos would cancel there.
    first = np.sinc(angle / np.pi)
    second = np.sinc(angle / (2 * np.pi)) ** 2 / 2
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1)
    cross = cross.reshape(*vectors.shape, 3)
    return np.eye(3) + first * cross + second * (cross @ cross)


def axis_angles(rotations: NDArray[Any]) -> NDArray[np.float64]:
    """The shortest axis-angle vectors of rotations.

    By way of unit quaternions, each from its largest component (Shepperd 1978), so that no
    angle, pi and 0 included, costs accuracy.

    Args:
        rotations: (..., 3, 3), proper rotations.

    Returns:
        (..., 3), of length 0..pi; of the two vectors of a half turn, either one.
    """
    r = np.asarray(rotations, np.float64)
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    xy, xz, yz = (r[..., i, j] + r[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    wx, wy, wz = (r[..., i, j] - r[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    # Row k is 4 q_k q for the quaternion q = (w, x, y, z).
    products = np.stack(
        [
            np.stack([1 + xx + yy + zz, wx, wy, wz], axis=-1),
            np.stack([wx, 1 + xx - yy - zz, xy, xz], axis=-1),
            np.stack([wy, xy, 1 - xx + yy - zz, yz], axis=-1),
            np.stack([wz, xz, yz, 1 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    largest = np.einsum("...kk->...k", products).argmax(axis=-1)
    quaternion = np.take_along_axis(products, largest[..., None, None], axis=-2)[..., 0, :]
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    quaternion *= np.where(quaternion[..., :1] < 0, -1, 1)  # q and -q are one rotation
    cosine, axis = quaternion[..., :1], quaternion[..., 1:]
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    tiny = np.finfo(np.float64).tiny
    return axis * np.where(sine > tiny, 2 * np.arctan2(sine, cosine) / np.maximum(sine, tiny), 2)


def angles(rotations: NDArray[Any]) -> NDArray[np.float64]:
    """How far rotations (..., 3, 3) turn, 0..pi radians: their distance from the identity."""
    return np.linalg.norm(axis_angles(rotations), axis=-1)


def nearest_rotations(near: NDArray[Any]) -> NDArray[np.float64]:
    """Proper rotations nearest to matrices (T, 3, 3), in the sum of squared differences."""
    basis = np.broadcast_to(np.eye(3), near.shape)
    return best_rotation(basis, np.swapaxes(near, -1, -2))


def smooth_rotations(
    rotations: NDArray[Any], sigma: float, weights: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Average each rotation with those of the frames around it.

    The chordal mean (Hartley, Trumpf, Dai and Li, IJCV 2013): matrices are averaged as
    `stages.smoothing.smooth_series` does, and the mean is carried back onto the rotations. It
    knows no branches of angles, and turns with the frame of reference on either side.

    Args:
        rotations: (T, 3, 3), proper rotations; neighbours less than half a turn apart.
        sigma: Standard deviation of the window in frames; 0 changes nothing.
        weights: (T,), how much each counts, as in `stages.smoothing.smooth_series`.

    Returns:
        (T, 3, 3), proper rotations.
    """
    if sigma <= 0 or len(rotations) < 2:
        return np.array(rotations, np.float64)
    return nearest_rotations(smooth_series(rotations, sigma, weights))
