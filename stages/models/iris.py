"""MediaPipe's iris net: the contour of an eye and its iris, from the eye's mesh landmarks."""

from dataclasses import dataclass

import numpy as np

from stages.models.litert import LiteNet
from stages.models.roi import Roi, line_angle
from stages.models.topology import (
    IMAGE_LEFT_EYE_CONTOUR,
    IMAGE_LEFT_EYE_CORNERS,
    IMAGE_RIGHT_EYE_CONTOUR,
    IMAGE_RIGHT_EYE_CORNERS,
)

_ROI_SCALE = 2.3
_LID_POINTS = 16  # the contour's first: the lids themselves
# The net saw the right eye mirrored, so that its left and right iris points change places.
_MIRRORED_IRIS = [0, 3, 2, 1, 4]


@dataclass(frozen=True)
class Eye:
    """One eye.

    Attributes:
        contour: (71, 3) pixels, in the order of ``topology.IMAGE_LEFT_EYE_CONTOUR`` or
            ``IMAGE_RIGHT_EYE_CONTOUR``.
        iris: (5, 3) pixels: the centre, then four points of the edge, in the net's order.
    """

    contour: np.ndarray
    iris: np.ndarray


def eye_roi(points: np.ndarray, corners: tuple[int, int]) -> Roi:
    """Region of the eye between two corners among a mesh's ``points`` (468, 3)."""
    pair = points[list(corners)]
    return Roi.around(pair, scale=_ROI_SCALE, angle=line_angle(*pair))


class Iris:
    """The iris net."""

    weights = ("iris_landmark",)

    def __init__(self) -> None:
        self._net = LiteNet(*self.weights)

    def eye(self, picture: np.ndarray, region: Roi, *, mirrored: bool) -> Eye:
        """The eye in ``region`` of a picture (H, W, 3), uint8 RGB.

        The net knows image-left eyes; it is shown an image-right one ``mirrored``.
        """
        crop = region.crop(picture, self._net.size, low=0, high=1)
        outputs = self._net(np.ascontiguousarray(crop[:, ::-1]) if mirrored else crop)
        iris, contour = sorted((each.reshape(-1, 3) for each in outputs.values()), key=len)
        contour, iris = (each.astype(np.float64) / self._net.size for each in (contour, iris))
        if mirrored:
            contour[:, 0], iris[:, 0] = 1 - contour[:, 0], 1 - iris[:, 0]
        return Eye(region.project(contour), region.project(iris))

    def refine(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Add both irises to a mesh, and let the finer net draw the eyes' contours.

        Contours overwrite x and y of the mesh, whose z is kept. An iris lies at the mean
        depth of the lids around it, as in MediaPipe's refined mesh.

        Args:
            picture: (H, W, 3) uint8 RGB.
            points: (468, 3) pixels.

        Returns:
            (478, 3) float64 pixels in MediaPipe's order.
        """
        refined = np.concatenate([points, np.empty((10, 3))])
        for corners, contour, start, mirrored in (
            (IMAGE_LEFT_EYE_CORNERS, IMAGE_LEFT_EYE_CONTOUR, 468, False),
            (IMAGE_RIGHT_EYE_CORNERS, IMAGE_RIGHT_EYE_CONTOUR, 473, True),
        ):
            eye = self.eye(picture, eye_roi(points, corners), mirrored=mirrored)
            refined[list(contour), :2] = eye.contour[:, :2]
            iris = refined[start : start + 5]
            iris[:, :2] = eye.iris[_MIRRORED_IRIS if mirrored else slice(None), :2]
            iris[:, 2] = points[list(contour[:_LID_POINTS]), 2].mean()
        return refined
