"""POSE: how far the face's keypoints are from the driving film's."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import CaseFeatures, ClipMetric, Extractor, Features, MetricInfo, Role
from evaluation.metrics.faces import Faces, faces_of
from evaluation.metrics.lights import LightName
from evaluation.metrics.origins import identities
from stages.models.deca.keypoints import ibug_points
from stages.models.faces import FACE_MODELS

SIDE = 256
"""Side of the frames, in pixels, in which distances are told: that of the reference's."""


class Pose(ClipMetric):
    """Average keypoint distance, after Siarohin et al.'s evaluation.

    They take FAN's 68 points; here they are MediaPipe's, in FAN's scheme.

    Args:
        light: Name of the light's estimator: with the same, faces are searched for once for this
            metric and for those of light.
    """

    def __init__(self, light: LightName) -> None:
        self._faces = Faces(light)

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return MetricInfo(
            name="pose",
            title="POSE",
            higher_is_better=False,
            unit="px",
            range=(0.0, float("inf")),
            estimator="MediaPipe's landmarks",
            grade="embedded",
            definition=(
                "Per frame, the mean absolute difference over the 136 coordinates of the face's"
                f" 68 iBUG points, output against driving film, in pixels of {SIDE} x {SIDE}"
                " frames (average keypoint distance, as in pose-evaluation, but by MediaPipe"
                " instead of FAN)."
            ),
            weights=identities(FACE_MODELS["mediapipe"].weights),
        )

    def extractors(self) -> Mapping[Role, Extractor]:
        """Faces of both films."""
        return {"output": self._faces, "driving": self._faces}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """Distances (T,); NaN where a frame has no face, in either film."""
        output, driving = (_points(faces_of(case, role)) for role in ("output", "driving"))
        return np.asarray(np.abs(output - driving).mean(axis=(1, 2)))


def _points(faces: Features) -> NDArray[np.float64]:
    """The 68 points (T, 68, 2) of a film, in pixels of `SIDE`."""
    return ibug_points(faces["landmarks"]).astype(np.float64) * (SIDE / float(faces["size"]))
