"""IQ: how good each frame looks by itself, without a reference."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

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
from evaluation.metrics.origins import identities, versions
from stages.models.naturalness import Naturalness
from stages.models.offer import Offer
from stages.quality import Quality

IqName = Literal["liqe", "naturalness"]

LIQE = Offer("evaluation.models.liqe:load_liqe", ("liqe_koniq",), ("torch", "safetensors"))
"""The network."""

Scorer = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


class FrameNaturalness(Extractor):
    """The classical quality score of every frame (`stages.models.naturalness`).

    Features of T frames:
        score: float64 (T,), 0 (ruined) to 1 (flawless).
    """

    name = "frame_naturalness"

    def options(self) -> Mapping[str, Any]:
        """The stage whose model scores."""
        return {"stages": versions(Quality)}

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


class LiqeScores(Extractor):
    """LIQE's score of every frame (`evaluation.models.liqe`).

    Features of T frames:
        score: float64 (T,), 1 (bad) to 5 (perfect).
    """

    name = "liqe"

    def __init__(self) -> None:
        self._model: Scorer | None = None

    def weights(self) -> tuple[str, ...]:
        """The network's."""
        return LIQE.weights

    def setup(self) -> None:
        """Load the network.

        Raises:
            UsageError: A package is missing.
            WeightsError: Its weights are not here, or are another network's.
        """
        self._model = LIQE.load()()

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film.

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._model is None:
            raise RuntimeError("liqe: call setup before start")
        return _LiqePass(self._model)

    def close(self) -> None:
        """Let go of the network."""
        self._model = None


class _LiqePass(FeaturePass):
    """Frames on their way through LIQE, which takes one at a time."""

    def __init__(self, model: Scorer) -> None:
        self._model = model
        self._scores: list[float] = []

    def add(self, frames: NDArray[np.uint8]) -> None:
        self._scores += self._model(frames).tolist()

    def finish(self) -> dict[str, NDArray[Any]]:
        return {"score": np.array(self._scores)}


class ImageQuality(ClipMetric):
    """The mean score of a film's frames.

    Args:
        model: Name of the estimator.
    """

    def __init__(self, model: IqName) -> None:
        self._standard = model == "liqe"
        self._extractor = LiqeScores() if self._standard else FrameNaturalness()

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        shared: dict[str, Any] = {
            "name": "image_quality",
            "title": "IQ",
            "higher_is_better": True,
            "unit": "",
            "weights": identities(self._extractor.weights()),
        }
        if self._standard:
            return MetricInfo(
                **shared,
                range=(1.0, 5.0),
                estimator="LIQE (KonIQ)",
                grade="standard",
                definition=(
                    "Per frame, LIQE's score (Zhang et al. 2023), 1 (bad) to 5 (perfect), in the"
                    " form of IQA-PyTorch's `liqe`. The paper names that toolbox, and no model of"
                    " it; its values lie in this one's range."
                ),
            )
        return MetricInfo(
            **shared,
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
        return np.asarray(case.of("output", self._extractor.name)["score"], np.float64)
