"""IQ: how good each frame looks by itself, without a reference."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import (
    CaseFeatures,
    ClipMetric,
    Extractor,
    FeaturePass,
    MetricInfo,
    Role,
)
from stages.models.naturalness import Naturalness


class FrameNaturalness(Extractor):
    """The classical quality score of every frame (`stages.models.naturalness`).

    Features of T frames:
        score: float64 (T,), 0 (ruined) to 1 (flawless).
    """

    name = "frame_naturalness"

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film."""
        return _FramePass()


class _FramePass(FeaturePass):
    """Frames on their way through `FrameNaturalness`."""

    def __init__(self) -> None:
        self._model = Naturalness()
        self._scores: list[float] = []

    def add(self, frames: NDArray[np.uint8]) -> None:
        # A frame is paired with itself, so that nothing is said of time.
        self._scores += [self._model.terms([frame, frame]).score for frame in frames]

    def finish(self) -> dict[str, NDArray[Any]]:
        return {"score": np.array(self._scores)}


class ImageQuality(ClipMetric):
    """The mean score of a film's frames."""

    def __init__(self) -> None:
        self._extractor = FrameNaturalness()

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return MetricInfo(
            name="image_quality",
            title="IQ",
            higher_is_better=True,
            unit="",
            range=(0.0, 1.0),
            estimator="signal statistics of single frames",
            grade="embedded",
            definition=(
                "Per frame, our classical no-reference score: how far softness, noise, block"
                " edges and emptiness are from what cameras record. It stands in for LIQE, whose"
                " scale is 1 to 5."
            ),
        )

    def extractors(self) -> Mapping[Role, Extractor]:
        """The output's frames."""
        return {"output": self._extractor}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """Scores (T,)."""
        return np.asarray(case.found["output"][self._extractor.name]["score"], np.float64)
