"""Background PSNR: how well what is not the portrait was left alone."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import CaseFeatures, ClipMetric, Extractor, MetricInfo, Role
from evaluation.metrics.ground import Ground, ground_pixels, mean_over
from evaluation.metrics.origins import identities

CEILING = 60.0
"""Decibels of a ground that is the driving film's to the bit, or nearly: rounding to whole levels
alone makes 59. Without a ceiling, one such frame would outweigh all others."""


class BackgroundPsnr(ClipMetric):
    """Peak signal-to-noise ratio of the ground against the driving film's.

    Args:
        ground: Samples the ground; shared with the flicker.
    """

    def __init__(self, ground: Ground | None = None) -> None:
        self._ground = ground or Ground()

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return MetricInfo(
            name="background_psnr",
            title="Background PSNR",
            higher_is_better=True,
            unit="dB",
            range=(0.0, CEILING),
            estimator="MediaPipe's selfie segmentation",
            grade="embedded",
            definition=(
                "Per frame, 10 log10(255^2 / MSE) over pixels and colours outside the driving"
                f" film's matte, output against driving film, at most {CEILING:g} dB. Pixels are"
                " sampled on a grid of 64 x 64. Of relighting only: an animated portrait brings"
                " its own ground."
            ),
            weights=identities(self._ground.weights()),
        )

    def extractors(self) -> Mapping[Role, Extractor]:
        """The ground of both films."""
        return {"output": self._ground, "driving": self._ground}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """Decibels (T,); NaN in animation, and where there is hardly any ground."""
        output, driving, ground = ground_pixels(case)
        if case.light is None:
            return np.full(len(output), np.nan)
        error = mean_over(np.square(output - driving).mean(axis=3), ground)
        least = 255.0**2 / 10 ** (CEILING / 10)
        return np.asarray(10 * np.log10(255.0**2 / np.maximum(error, least)))
