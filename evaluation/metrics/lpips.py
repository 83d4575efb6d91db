"""LPIPS of a film: from frame to frame, and against the film that drove it.

LPIPS is the squared distance of two pictures' codes (`evaluation.models.lpips`), so that each film
is looked at alone. Its stand-in, where LPIPS's weights are not here, does the same with a network
that nobody trained.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

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
from evaluation.metrics.chunks import ChunkedPass, resized
from evaluation.metrics.origins import identities
from evaluation.metrics.perceivers import PERCEIVERS, CoderName, Perceiver

Codes = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

SOURCE_SIZE = 64
"""Side in pixels at which films are compared with each other.

A code has as many numbers as the features it is made of: 640,000 for a frame of 256 pixels, too
many to keep. At 64 pixels, the size of the patches on which LPIPS was trained, it has 32,000.
"""

_CHUNK = 4
_COMPARED: tuple[Role, Role] = ("output", "driving")


class _Perception(Extractor):
    """What both extractors share: the network. A case may hold features of several, by name."""

    stem: ClassVar[str]

    def __init__(self, coder: CoderName) -> None:
        self.name = f"{self.stem}_{coder}"
        self._perceiver = PERCEIVERS[coder]
        self._coder: Codes | None = None

    def weights(self) -> tuple[str, ...]:
        """The network's."""
        return self._perceiver.offer.weights

    def options(self) -> Mapping[str, Any]:
        """Which network."""
        return {"coder": self._perceiver.name}

    def setup(self) -> None:
        """Load the network.

        Raises:
            UsageError: A package is missing.
            WeightsError: Its weights are not here, or are another network's.
        """
        self._coder = self._perceiver.offer.load()(*self._perceiver.arguments)

    def close(self) -> None:
        """Let go of it."""
        self._coder = None

    def codes(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Codes (n, D) of frames (n, S, S, 3).

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._coder is None:
            raise RuntimeError(f"{self.name}: call setup before start")
        return self._coder(frames)


class Steps(_Perception):
    """How different each frame looks from the one before it: ``distance`` (n - 1,)."""

    stem: ClassVar[str] = "perceptual_steps"

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film."""
        return _StepsPass(self.codes)


class SourceCodes(_Perception):
    """Codes of a film's frames at 64 pixels: ``code`` (n, D) float16."""

    stem: ClassVar[str] = "perceptual_codes"

    def options(self) -> Mapping[str, Any]:
        """Which network, and at which size."""
        return {**super().options(), "size": SOURCE_SIZE}

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film."""
        return _CodesPass(self.codes)


class TemporalLpips(ClipMetric):
    """LPIPS between adjacent frames: how much a film changes, and so how restless it is.

    Args:
        coder: Name of the network.
    """

    def __init__(self, coder: CoderName) -> None:
        self._perceiver = PERCEIVERS[coder]
        self._steps = Steps(self._perceiver.name)

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return _info(
            self._perceiver,
            "",
            "Mean distance of each frame of the output from the one before it, at the frames' "
            "own size. It says nothing of the source: a still picture has 0. The paper names no "
            "network for it; so no published values stand beside it.",
        )

    def extractors(self) -> Mapping[Role, Extractor]:
        """Of the output alone."""
        return {"output": self._steps}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """Values (n - 1,) of the pairs of adjacent frames."""
        return np.asarray(case.of("output", self._steps.name)["distance"], np.float64)


class SourceLpips(ClipMetric):
    """LPIPS between the output and the driving film, frame by frame.

    Args:
        coder: Name of the network.
    """

    def __init__(self, coder: CoderName) -> None:
        self._perceiver = PERCEIVERS[coder]
        self._codes = SourceCodes(self._perceiver.name)

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return _info(
            self._perceiver,
            "_source",
            f"Mean distance of the output's frames from the driving film's, both reduced to "
            f"{SOURCE_SIZE} pixels. A light that was wanted counts as a difference too.",
        )

    def extractors(self) -> Mapping[Role, Extractor]:
        """Of the output and of the driving film."""
        return {"output": self._codes, "driving": self._codes}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """Values (n,) of the frames.

        Raises:
            ValueError: The films differ in length, or nothing was found in one of them.
        """
        output, driving = (case.of(role, self._codes.name)["code"] for role in _COMPARED)
        if len(output) != len(driving):
            raise ValueError(f"{len(output)} frames of output, but {len(driving)} that drove it")
        return _squared_distances(output, driving)


class _StepsPass(ChunkedPass):
    def __init__(self, codes: Codes) -> None:
        super().__init__(_CHUNK)
        self._codes = codes
        self._last: NDArray[np.float32] | None = None
        self._found: list[NDArray[np.float64]] = []

    def see(self, chunk: NDArray[np.uint8]) -> None:
        codes = self._codes(chunk)
        if self._last is not None:
            self._found.append(_squared_distances(self._last, codes[:1]))
        self._found.append(_squared_distances(codes[:-1], codes[1:]))
        self._last = codes[-1:]

    def result(self) -> dict[str, NDArray[Any]]:
        return {"distance": np.concatenate([np.empty(0), *self._found])}


class _CodesPass(ChunkedPass):
    def __init__(self, codes: Codes) -> None:
        super().__init__(_CHUNK)
        self._codes = codes
        self._found: list[NDArray[np.float16]] = []

    def see(self, chunk: NDArray[np.uint8]) -> None:
        # Half precision moves a distance by less than 1e-5.
        self._found.append(self._codes(resized(chunk, SOURCE_SIZE)).astype(np.float16))

    def result(self) -> dict[str, NDArray[Any]]:
        return {"code": np.concatenate(self._found) if self._found else np.empty((0, 0))}


def _squared_distances(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Between rows (n, D), one by one."""
    apart = first.astype(np.float32) - second.astype(np.float32)
    return np.einsum("nd,nd->n", apart, apart, dtype=np.float64)


def _info(perceiver: Perceiver, suffix: str, definition: str) -> MetricInfo:
    source = "Zhang et al. 2018"
    if perceiver.grade == "embedded":
        source = f"the formula of {source}, without heads, on a network of random weights"
    return MetricInfo(
        name=f"{perceiver.metric}{suffix}",
        title=f"{perceiver.title}{' to source' if suffix else ''}",
        higher_is_better=False,
        unit="",
        range=(0.0, perceiver.most),
        estimator=perceiver.estimator,
        grade=perceiver.grade,
        definition=f"{definition} ({source}.)",
        weights=identities(perceiver.offer.weights),
    )
