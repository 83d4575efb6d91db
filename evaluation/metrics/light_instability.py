"""Light instability: how much the light changes from frame to frame, beyond the driving film."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import CaseFeatures, ClipMetric, Extractor, Features, MetricInfo, Role
from evaluation.metrics.faces import Faces, faces_of
from evaluation.metrics.lights import LIGHTS, LightName
from evaluation.metrics.origins import identities


class LightInstability(ClipMetric):
    """Relative change of the estimated light's luminance, less the driving film's own.

    The difference takes off what the estimator's own noise and the turning head bring about. It
    is not cut off at 0, which would count that noise as an error: below 0 is a light that is
    steadier than the driving film's.

    Args:
        light: Name of the light's estimator.
    """

    def __init__(self, light: LightName) -> None:
        self._faces = Faces(light)

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        offer = LIGHTS[self._faces.light]
        return MetricInfo(
            name="light_instability",
            title="Light instability",
            higher_is_better=False,
            unit="",
            range=(float("-inf"), float("inf")),
            estimator=offer.words,
            grade=offer.grade,
            definition=(
                "Per pair of neighbouring frames, the length of the change of the light's nine"
                " luminance coefficients as a share of their mean length over the film; the"
                " output's less the driving film's. Ours."
            ),
            weights=identities(self._faces.weights()),
        )

    def extractors(self) -> Mapping[Role, Extractor]:
        """Faces of both films."""
        return {"output": self._faces, "driving": self._faces}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """Excess (T - 1,); NaN where a frame of the pair has no face, in either film."""
        return _change(faces_of(case, "output")) - _change(faces_of(case, "driving"))


def _change(faces: Features) -> NDArray[np.float64]:
    """Relative change (T - 1,) of a film's light; NaN beside a frame without a face."""
    light = faces["luminance"].astype(np.float64)
    lengths = np.linalg.norm(light, axis=1)
    known = lengths[np.isfinite(lengths)]
    usual = known.mean() if known.any() else np.nan
    return np.asarray(np.linalg.norm(np.diff(light, axis=0), axis=1) / usual)
