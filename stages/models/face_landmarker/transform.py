"""The face transform: what carries the canonical face, in centimetres, before a camera.

As MediaPipe's face geometry module finds it. The camera looks down -z from the origin, x right,
y up, and is an assumption: 63 degrees from the picture's top to its bottom. So is the head's
size, the canonical face's. Its fit to the landmarks, taken flat as they are, says how far off
they must be to have that size; a second fit, of the landmarks as they then lie in perspective,
corrects this; a third gives the pose.
"""

from math import radians, tan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.models.face_landmarker.canonical import CanonicalFace
from stages.models.pose import best_rotation

_NEAR = 1.0  # distance of the plane on which the picture lies, cm
_PICTURE_HEIGHT = 2 * _NEAR * tan(radians(63) / 2)
_AWAY = np.array([1, 1, -1])  # depth that grows with distance becomes the camera's z


def face_transforms(
    points: NDArray[Any], face: CanonicalFace, *, width: float, height: float
) -> NDArray[np.float32]:
    """Find the face's pose in each frame.

    Args:
        points: (T, 468+, 3) landmarks in pixels, z in the same unit, smaller is nearer.
        face: What they are landmarks of.
        width: The picture's, pixels.
        height: The picture's, pixels.

    Returns:
        float32 (T, 4, 4): homogeneous, for column vectors: a rotation (times a scale that the
        fits before have brought to 1) and a translation in centimetres.
    """
    centre = np.array([width / 2, height / 2, 0])
    flat = (points[:, : len(face.points)] - centre) * (1, -1, 1) * (_PICTURE_HEIGHT / height)
    depth = flat[..., 2].mean(axis=1)
    scale = _scale(_fit(face, flat * _AWAY))
    scale = scale * _scale(_fit(face, _before_camera(flat, depth, scale)))
    return _fit(face, _before_camera(flat, depth, scale)).astype(np.float32)


def _before_camera(
    flat: NDArray[np.float64], depth: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points of the picture's plane (T, n, 3), moved along their rays to where they belong.

    ``depth`` (T,) comes to lie on that plane once ``scale`` (T,) has been divided out.
    """
    away = (flat[..., 2] - depth[:, None] + _NEAR) / scale[:, None]
    return np.stack([*(flat[..., k] * away / _NEAR for k in (0, 1)), -away], axis=-1)


def _fit(face: CanonicalFace, target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Similarities (T, 4, 4) from the canonical face to each target (T, n, 3).

    Weighted least squares (Umeyama 1991), with the rotation by Kabsch's method.
    """
    weights = (face.weights / face.weights.sum())[:, None]
    root = np.sqrt(weights)
    middle, aim = (weights * face.points).sum(axis=0), (weights * target).sum(axis=1)
    source, goal = root * (face.points - middle), root * (target - aim[:, None])
    rotation = best_rotation(np.broadcast_to(source, goal.shape), goal)
    turned = source @ np.swapaxes(rotation, 1, 2)
    scale = (turned * goal).sum(axis=(1, 2)) / (source**2).sum()
    pose = np.zeros((len(target), 4, 4))
    pose[:, :3, :3] = scale[:, None, None] * rotation
    pose[:, :3, 3] = aim - pose[:, :3, :3] @ middle
    pose[:, 3, 3] = 1
    return pose


def _scale(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much each of (T, 4, 4) enlarges: (T,)."""
    return np.linalg.norm(poses[:, :3, 0], axis=1)
