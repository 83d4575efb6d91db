"""VQ: how good a clip looks, without a reference."""

from collections.abc import Mapping
from dataclasses import astuple
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
from evaluation.metrics.standard import at_hand, identities
from stages.models.naturalness import Naturalness

QualityName = Literal["fastervqa", "naturalness"]


class ClipNaturalness(Extractor):
    """The classical quality score of a clip, from pairs of frames spread over it.

    Features:
        score: float64 (1,), 0 (ruined) to 1 (flawless).
        terms: float64 (1, 4), softness, noise, blockiness and emptiness behind it.
    """

    name = "clip_naturalness"

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film."""
        return _PairPass(frames)


class _PairPass(FeaturePass):
    """Frames on their way through `ClipNaturalness`: those of the pairs are kept."""

    def __init__(self, frames: int) -> None:
        self._model = Naturalness()
        self._wanted = self._model.indices(frames)
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self._seen = 0

    def add(self, frames: NDArray[np.uint8]) -> None:
        for index, frame in enumerate(frames, start=self._seen):
            if index in self._wanted:
                self._kept[index] = frame.copy()
        self._seen += len(frames)

    def finish(self) -> dict[str, NDArray[Any]]:
        terms = self._model.terms([self._kept[index] for index in self._wanted])
        return {"score": np.array([terms.score]), "terms": np.array([astuple(terms)])}


class FragmentScores(Extractor):
    """FasterVQA's score of a clip.

    The places of fragments are those that the published evaluation draws after a fixed seed: the
    same in all films of one length and size, so that methods are compared at the same places.

    Features:
        score: float64 (1,), 0..1; an average video of the authors' has 0.5.
        raw: float64 (1,), before it was brought there.
    """

    name = "fastervqa"

    def __init__(self) -> None:
        self._model: Any = None

    def weights(self) -> tuple[str, ...]:
        """The network's."""
        return ("fastervqa",)

    def options(self) -> Mapping[str, Any]:
        """How the network is used."""
        return {"variant": "base", "sampling": "dataset"}

    def setup(self) -> None:
        """Load the network."""
        from stages.models.fastervqa.model import FasterVQA

        self._model = FasterVQA(variant="base", sampling="dataset")

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film.

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._model is None:
            raise RuntimeError("fastervqa: call setup before start")
        from evaluation.metrics.fragments import FragmentPass

        return FragmentPass(frames, size, self._model)

    def close(self) -> None:
        """Let go of the network."""
        self._model = None


class VideoQuality(ClipMetric):
    """One score a clip.

    Args:
        model: Name of the estimator; FasterVQA without, where its weights are here.
    """

    def __init__(self, model: QualityName | None = None) -> None:
        if model is None:
            model = "fastervqa" if at_hand(("fastervqa",)) else "naturalness"
        self._standard = model == "fastervqa"
        self._extractor = FragmentScores() if self._standard else ClipNaturalness()

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        shared: dict[str, Any] = {
            "name": "video_quality",
            "title": "VQ",
            "higher_is_better": True,
            "unit": "",
            "range": (0.0, 1.0),
            "weights": identities(self._extractor.weights()),
        }
        if self._standard:
            return MetricInfo(
                **shared,
                estimator="FasterVQA",
                grade="standard",
                definition=(
                    "FasterVQA's score of the clip in 0..1 (Wu et al. 2023), fragments drawn as in"
                    " the published evaluation after a fixed seed."
                ),
                published="VQ",
            )
        return MetricInfo(
            **shared,
            estimator="signal statistics of pairs of frames",
            grade="embedded",
            definition=(
                "Our classical no-reference score of the clip: how far softness, noise, block"
                " edges and emptiness are from what cameras record. It stands in for FasterVQA."
            ),
        )

    def extractors(self) -> Mapping[Role, Extractor]:
        """The output's frames."""
        return {"output": self._extractor}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """The clip's score, (1,)."""
        return np.asarray(case.found["output"][self._extractor.name]["score"], np.float64)
