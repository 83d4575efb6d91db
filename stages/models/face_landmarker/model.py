"""The bundle's nets as a face model, for stills and for the tracker."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.weights import weight_path
from stages.models.face_detector import FaceDetector
from stages.models.face_landmarker import bundle
from stages.models.face_landmarker.blendshapes import blendshapes
from stages.models.face_landmarker.canonical import CanonicalFace
from stages.models.face_landmarker.transform import face_transforms
from stages.models.face_mesh import Mesh, face_flag
from stages.models.litert import LiteNet
from stages.models.roi import Roi

_POINTS, _FLAG = "Identity", "Identity_1"  # of a third output MediaPipe makes no use


class FaceLandmarker:
    """MediaPipe's face landmarker of one bundle.

    Its detector, regions and crops are those of the older nets; its mesh has irises of its
    own. In x and y it gives MediaPipe's numbers. Depth we carry over in the region's scale
    whichever way the face leans, as the older graph did. MediaPipe's newer code measures the
    leaning region in units of the picture's width and height instead, and so stretches depth
    by ``hypot(cos(lean), sin(lean) * width / height)``: 30% for 35 degrees in a 16:9 picture.

    Args:
        min_score: Detector's score from which a face counts, 0..1.

    Raises:
        WeightsError: The bundle cannot be had, or is damaged.
    """

    weights = ("face_landmarker",)

    def __init__(self, min_score: float = 0.5) -> None:
        members = bundle.read_bundle(weight_path(*self.weights))
        self.detect = FaceDetector(min_score, LiteNet(bundle.DETECTOR, members[bundle.DETECTOR]))
        self._mesh = LiteNet(bundle.LANDMARKS, members[bundle.LANDMARKS])
        self._blendshapes = LiteNet(bundle.BLENDSHAPES, members[bundle.BLENDSHAPES])
        self._face = CanonicalFace.parse(members[bundle.GEOMETRY])

    def mesh(self, picture: NDArray[np.uint8], region: Roi) -> Mesh:
        """The landmarks, irises among them, of the face in ``region``."""
        outputs = self._mesh(region.crop(picture, self._mesh.size, low=0, high=1))
        points = outputs[_POINTS].astype(np.float64).reshape(-1, 3) / self._mesh.size
        return Mesh(region.project(points), face_flag(outputs[_FLAG]))

    def refine(self, picture: NDArray[np.uint8], points: NDArray[Any]) -> NDArray[Any]:
        """The mesh's points: they are all there."""
        return points

    def describe(
        self, points: NDArray[Any], *, width: int, height: int
    ) -> Mapping[str, NDArray[np.float32]]:
        """What a clip's landmarks (T, 478, 3) say of the face, frame by frame.

        Returns:
            ``blendshapes`` (T, 52), 0..1 in the order of `blendshapes.BLENDSHAPES`, and
            ``transform`` (T, 4, 4), see `transform.face_transforms`.
        """
        return {
            "blendshapes": blendshapes(self._blendshapes, points),
            "transform": face_transforms(points, self._face, width=width, height=height),
        }
