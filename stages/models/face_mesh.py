"""MediaPipe's face mesh: 468 landmarks in 3-D of the face in a region."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stages.models.litert import LiteNet
from stages.models.roi import Roi, line_angle
from stages.models.topology import MESH_POINTS

_ROI_SCALE = 1.5
_OUTER_EYE_CORNERS = (33, 263)


@dataclass(frozen=True)
class Mesh:
    """A face's landmarks.

    Attributes:
        points: (468, 3) float64, or (478, 3) where the net sees irises too, pixels; z in the
            same unit, smaller towards the camera, 0 at the centre of the head.
        score: How surely the region held a face, 0..1.
    """

    points: np.ndarray
    score: float

    @cached_property
    def size(self) -> float:
        """Longer side of the landmarks' upright box, pixels."""
        return float(np.ptp(self.points[:, :2], axis=0).max())

    @cached_property
    def centre(self) -> np.ndarray:
        """(2,) pixels: the middle of that box."""
        return (self.points[:, :2].min(axis=0) + self.points[:, :2].max(axis=0)) / 2

    def roi(self) -> Roi:
        """Region in which to look for the same face in the next frame."""
        left, right = self.points[list(_OUTER_EYE_CORNERS)]
        return Roi.around(self.points, scale=_ROI_SCALE, angle=line_angle(left, right))


class FaceMesh:
    """The landmark net."""

    weights = ("face_landmark",)

    def __init__(self) -> None:
        self._net = LiteNet(*self.weights)

    def __call__(self, picture: np.ndarray, region: Roi) -> Mesh:
        """Landmarks of the face in ``region`` of a picture (H, W, 3), uint8 RGB."""
        outputs = self._net(region.crop(picture, self._net.size, low=0, high=1))
        flag, points = sorted((each.reshape(-1) for each in outputs.values()), key=len)
        points = points.astype(np.float64).reshape(MESH_POINTS, 3) / self._net.size
        return Mesh(region.project(points), face_flag(flag))


def face_flag(logit: np.ndarray) -> float:
    """How surely there is a face, 0..1, from a net's single number for it, of any shape."""
    return float(1 / (1 + np.exp(-np.clip(float(logit.item()), -100, 100))))
