"""Ground flicker: how much what is not the portrait changes over time, beyond the driving film."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import CaseFeatures, ClipMetric, Extractor, MetricInfo, Role
from evaluation.metrics.ground import Ground, ground_pixels, mean_over
from evaluation.metrics.origins import identities


class GroundFlicker(ClipMetric):
    """Change of the ground from frame to frame, less the driving film's at the same pixels.

    It is not cut off at 0: below it is a ground that is stiller than the driving film's, which
    the background's PSNR tells from a good one.

    Args:
        ground: Samples the ground; shared with the background's PSNR.
    """

    def __init__(self, ground: Ground | None = None) -> None:
        self._ground = ground or Ground()

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return MetricInfo(
            name="ground_flicker",
            title="Ground flicker",
            higher_is_better=False,
            unit="levels",
            range=(-255.0, 255.0),
            estimator="MediaPipe's selfie segmentation",
            grade="embedded",
            definition=(
                "Per pair of neighbouring frames, the mean absolute change of the pixels outside"
                " the portrait's matte in both, in levels of 255; the output's less the driving"
                " film's. Pixels are sampled on a grid of 64 x 64. Ours."
            ),
            weights=identities(self._ground.weights()),
        )

    def extractors(self) -> Mapping[Role, Extractor]:
        """The ground of both films."""
        return {"output": self._ground, "driving": self._ground}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """Excess (T - 1,); NaN where there is hardly any ground."""
        output, driving, ground = ground_pixels(case)
        excess = _change(output) - _change(driving)
        return mean_over(excess, ground[1:] & ground[:-1])


def _change(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absolute change (T - 1, H, W), mean over the colours."""
    return np.asarray(np.abs(np.diff(pixels, axis=0)).mean(axis=3))
