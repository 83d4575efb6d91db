"""FID: how far the frames of a method's films are, as a set, from real ones."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import Extractor, FeaturePass, MetricInfo
from evaluation.metrics.chunks import ChunkedPass
from evaluation.metrics.frechet_standard import FrechetMetric
from evaluation.metrics.standard import identities
from stages.models.offer import Offer

Resizing = Literal["pytorch-fid", "clean-fid", "torch-fidelity"]

INCEPTION = Offer(
    "evaluation.models.inception_input:PictureFeatures",
    ("inception_fid",),
    ("torch", "safetensors"),
)
"""The network."""

WIDTH = 2048
"""Numbers of a frame's feature vector."""

_CHUNK = 8

Look = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class InceptionVectors(Extractor):
    """Inception's last features of every frame: ``vector`` (n, 2048) float32.

    Args:
        resizing: How frames come to the network.
    """

    name: ClassVar[str] = "inception_vectors"

    def __init__(self, resizing: Resizing = "pytorch-fid") -> None:
        self._resizing = resizing
        self._look: Look | None = None

    def weights(self) -> tuple[str, ...]:
        """The network's."""
        return INCEPTION.weights

    def options(self) -> Mapping[str, Any]:
        """How frames come to the network."""
        return {"resizing": self._resizing}

    def setup(self) -> None:
        """Load the network.

        Raises:
            UsageError: A package is missing.
            WeightsError: Its weights are not here, or are another network's.
        """
        self._look = INCEPTION.load()(self._resizing)

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film.

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._look is None:
            raise RuntimeError("inception_vectors: call setup before start")
        return _VectorPass(self._look)

    def close(self) -> None:
        """Let go of the network."""
        self._look = None


class _VectorPass(ChunkedPass):
    def __init__(self, look: Look) -> None:
        super().__init__(_CHUNK)
        self._look = look
        self._found = [np.empty((0, WIDTH), np.float32)]

    def see(self, chunk: NDArray[np.uint8]) -> None:
        self._found.append(self._look(chunk))

    def result(self) -> dict[str, NDArray[Any]]:
        return {"vector": np.concatenate(self._found)}


class Fid(FrechetMetric):
    """Fréchet Inception distance (Heusel et al. 2017).

    Args:
        resizing: How frames come to the network; values of different ways cannot be compared.
        infinite: Extrapolate to infinitely many outputs (Chong and Forsyth 2020).
    """

    def __init__(self, resizing: Resizing = "pytorch-fid", *, infinite: bool = False) -> None:
        super().__init__(InceptionVectors(resizing), infinite=infinite)
        self._resizing = resizing

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        standard = self._resizing == "pytorch-fid"
        extrapolated = (
            ", extrapolated to infinitely many outputs by a line over 1/n through the distances "
            "of growing subsets (Chong and Forsyth 2020)"
        )
        return MetricInfo(
            name=("fid_infinite" if self._infinite else "fid")
            + ("" if standard else f"_{self._resizing.replace('-', '_')}"),
            title=("FID∞" if self._infinite else "FID")
            + ("" if standard else f" ({self._resizing})"),
            higher_is_better=False,
            unit="",
            range=(0.0, float("inf")),
            estimator=f"Inception-v3 of 2015, resized as {self._resizing}",
            grade="standard",
            definition=(
                "Squared Fréchet distance between the outputs' and the driving films' frames in "
                "the 2048 numbers of Inception's last pooling (Heusel et al. 2017), covariances "
                f"divided by n - 1{extrapolated if self._infinite else ''}."
            ),
            weights=identities(INCEPTION.weights),
            published="FID" if standard and not self._infinite else "",
        )
