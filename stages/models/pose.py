"""Head pose: the rotation, size and place that carry a clip's mean head into each frame."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# fmt: off
RIGID = (
    10, 151, 9, 8, 168, 6, 197, 195, 5,                # down the middle: forehead, bridge, nose
    109, 67, 54, 127, 234, 33, 133, 116, 117, 50, 205,  # forehead, temple, eye corners, cheekbone
    338, 297, 284, 356, 454, 263, 362, 345, 346, 280, 425,  # the same on the other side
)
# fmt: on
"""Landmarks that speech and expression move least."""

_RIGHT_EYE, _LEFT_EYE, _FOREHEAD, _CHIN = 33, 263, 10, 152
_ROUNDS = 5


@dataclass(frozen=True)
class HeadPose:
    """Poses of a clip: ``landmarks = scale * head @ rotation.T + translation``.

    Landmarks are in the camera frame (x right, y up, z towards the viewer; y and z are minus
    the pixel values). The head has its own axes: x from its right outer eye corner to its
    left one, y up the face, z out of it, origin amid the rigid landmarks. So the identity is
    a face that looks straight at the viewer.

    Attributes:
        rotation: float32 (T, 3, 3), proper rotations from head to camera.
        scale: float32 (T,), pixels for one unit of the head.
        translation: float32 (T, 3), pixels.
        head: float32 (V, 3), the clip's mean head; its rigid landmarks lie at a root mean
            square distance of 1 from the origin.
    """

    rotation: NDArray[np.float32]
    scale: NDArray[np.float32]
    translation: NDArray[np.float32]
    head: NDArray[np.float32]


def head_pose(landmarks: NDArray[Any], rigid: tuple[int, ...] = RIGID) -> HeadPose:
    """Fit one head to all frames of a clip, by generalised Procrustes analysis (Gower 1975).

    Args:
        landmarks: (T, V, 3), camera frame, pixels.
        rigid: Landmarks that the fit may use.
    """
    chosen = list(rigid)
    points = landmarks[:, chosen].astype(np.float64)
    centre = points.mean(axis=1, keepdims=True)
    points -= centre
    size = np.sqrt((points**2).sum(axis=2).mean(axis=1))[:, None, None]
    unit = points / np.maximum(size, 1e-9)
    mean = unit[0]
    for _ in range(_ROUNDS):
        rotation = best_rotation(np.broadcast_to(mean, unit.shape), unit)
        mean = (unit @ rotation).mean(axis=0)
        spread = np.sqrt((mean**2).sum(axis=1).mean())
        mean /= spread
    # All landmarks by the same means, summed up without an array of them in float64.
    turn = rotation / (np.maximum(size, 1e-9) * spread * len(unit))
    head = np.einsum("tvi,tij->vj", landmarks, turn) - np.einsum("tui,tij->uj", centre, turn)
    axes = _head_axes(head)
    head = head @ axes
    rotation = rotation @ axes
    turned = head[chosen] @ np.swapaxes(rotation, 1, 2)
    scale = (turned * points).sum(axis=(1, 2)) / (turned**2).sum(axis=(1, 2))
    return HeadPose(
        rotation.astype(np.float32),
        scale.astype(np.float32),
        centre[:, 0].astype(np.float32),
        head.astype(np.float32),
    )


def best_rotation(source: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """Rotations R that bring ``source @ R.T`` nearest to ``target`` (Kabsch 1976).

    Args:
        source: (T, N, 3), centred.
        target: (T, N, 3), centred.

    Returns:
        float64 (T, 3, 3), of determinant 1.
    """
    u, _, vt = np.linalg.svd(np.einsum("tni,tnj->tij", target, source))
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def _head_axes(head: NDArray[np.float64]) -> NDArray[np.float64]:
    """The head's own axes as columns: x towards its left eye, y up its face, z out of it."""
    x = head[_LEFT_EYE] - head[_RIGHT_EYE]
    x /= np.linalg.norm(x)
    up = head[_FOREHEAD] - head[_CHIN]
    y = up - (up @ x) * x
    y /= np.linalg.norm(y)
    return np.column_stack([x, y, np.cross(x, y)])
