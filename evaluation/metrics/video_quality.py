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
from evaluation.metrics.origins import identities, versions
from stages.models.naturalness import Naturalness
from stages.quality import QUALITY_MODELS, Quality

QualityName = Literal["fastervqa", "naturalness"]

Places = Literal["centre", "dataset"]

_WORDS: Mapping[Places, str] = {
    "centre": "consecutive frames in the middle, as FasterVQA's demo script takes them; the paper"
    " names FasterVQA and not how it was run, and this script tells scores in 0..1",
    "dataset": "frames all over the clip, drawn as in FasterVQA's own evaluation after a fixed"
    " seed",
}


class ClipNaturalness(Extractor):
    """The classical quality score of a clip, from pairs of frames spread over it.

    Features:
        score: float64 (1,), 0 (ruined) to 1 (flawless).
        terms: float64 (1, 4), softness, noise, blockiness and emptiness behind it.
    """

    name = "clip_naturalness"

    def options(self) -> Mapping[str, Any]:
        """The stage whose model scores."""
        return {"stages": versions(Quality)}

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

    The places of fragments are drawn as by FasterVQA's own programs after a fixed seed: the same
    in all films of one length and size, so that methods are compared at the same places.

    Features:
        score: float64 (1,), 0..1; an average video of the authors' has 0.5.
        raw: float64 (1,), before it was brought there.

    Args:
        places: As the demo script takes them, in the middle of the film (``centre``), or as the
            evaluation on data sets does, all over it (``dataset``).
    """

    name = "fastervqa"

    def __init__(self, places: Places = "centre") -> None:
        self._places: Places = places
        self._model: Any = None

    def weights(self) -> tuple[str, ...]:
        """The network's."""
        return QUALITY_MODELS["fastervqa"].weights

    def options(self) -> Mapping[str, Any]:
        """How the network is used, and the stage whose model it is."""
        return {"variant": "base", "places": self._places, "stages": versions(Quality)}

    def setup(self) -> None:
        """Load the network.

        Raises:
            UsageError: A package is missing.
            WeightsError: Its weights are not here, or are another network's.
        """
        self._model = QUALITY_MODELS["fastervqa"].load()(variant="base")

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film.

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._model is None:
            raise RuntimeError("fastervqa: call setup before start")
        from evaluation.metrics.fragments import FragmentPass

        return FragmentPass(frames, size, self._places, self._model)

    def close(self) -> None:
        """Let go of the network."""
        self._model = None


class VideoQuality(ClipMetric):
    """One score a clip.

    Args:
        model: Name of the estimator.
        places: Where FasterVQA looks; see `FragmentScores`.
    """

    def __init__(self, model: QualityName, places: Places = "centre") -> None:
        self._standard = model == "fastervqa"
        self._places: Places = places
        self._extractor = FragmentScores(places) if self._standard else ClipNaturalness()

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        demo = self._places == "centre"
        shared: dict[str, Any] = {
            "name": "video_quality" if demo else "video_quality_dataset",
            "title": "VQ" if demo else "VQ (data set)",
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
                    "FasterVQA's score of the clip in 0..1 (Wu et al. 2023), by fragments of"
                    f" {_WORDS[self._places]}."
                ),
                published="VQ" if demo else "",
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
        return np.asarray(case.of("output", self._extractor.name)["score"], np.float64)
