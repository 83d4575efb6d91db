"""FVD: how far a method's clips are, as a set, from real ones: frames and how they move."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import Extractor, FeaturePass, MetricInfo
from evaluation.metrics.chunks import ChunkedPass
from evaluation.metrics.frechet_standard import FrechetMetric
from evaluation.metrics.standard import identities
from stages.models.offer import Offer

I3D = Offer("evaluation.models.i3d:ClipLogits", ("i3d",), ("torch", "safetensors"))
"""The network."""

WIDTH = 400
"""Numbers of a clip's feature vector."""

CLIP = 16
"""Frames of a clip, as StyleGAN-V has them. A film's clips follow each other, and what is left at
its end is in none."""

Look = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class MotionVectors(Extractor):
    """I3D's logits of every clip of 16 frames: ``vector`` (n, 400) float32."""

    name: ClassVar[str] = "i3d_vectors"

    def __init__(self) -> None:
        self._look: Look | None = None

    def weights(self) -> tuple[str, ...]:
        """The network's."""
        return I3D.weights

    def options(self) -> Mapping[str, Any]:
        """How films are cut."""
        return {"clip": CLIP}

    def setup(self) -> None:
        """Load the network.

        Raises:
            UsageError: A package is missing.
            WeightsError: Its weights are not here, or are another network's.
        """
        self._look = I3D.load()()

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film.

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._look is None:
            raise RuntimeError("i3d_vectors: call setup before start")
        return _ClipPass(self._look)

    def close(self) -> None:
        """Let go of the network."""
        self._look = None


class _ClipPass(ChunkedPass):
    def __init__(self, look: Look) -> None:
        super().__init__(CLIP)
        self._look = look
        self._found = [np.empty((0, WIDTH), np.float32)]

    def see(self, chunk: NDArray[np.uint8]) -> None:
        if len(chunk) == CLIP:
            self._found.append(self._look(chunk[None]))

    def result(self) -> dict[str, NDArray[Any]]:
        return {"vector": np.concatenate(self._found)}


class Fvd(FrechetMetric):
    """Fréchet video distance (Unterthiner et al. 2018), by StyleGAN-V's protocol.

    Args:
        infinite: Extrapolate to infinitely many clips (Chong and Forsyth 2020).
    """

    ddof: ClassVar[int] = 0

    def __init__(self, *, infinite: bool = False) -> None:
        super().__init__(MotionVectors(), infinite=infinite)

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        extrapolated = (
            ", extrapolated to infinitely many outputs by a line over 1/n through the distances "
            "of growing subsets (Chong and Forsyth 2020)"
        )
        return MetricInfo(
            name="fvd_infinite" if self._infinite else "fvd",
            title="FVD∞" if self._infinite else "FVD",
            higher_is_better=False,
            unit="",
            range=(0.0, float("inf")),
            estimator="I3D on Kinetics-400, PyTorch port",
            grade="standard",
            definition=(
                f"Squared Fréchet distance between the outputs' and the driving films' clips of "
                f"{CLIP} frames in I3D's 400 logits, covariances divided by n as in StyleGAN-V"
                f"{extrapolated if self._infinite else ''}. Published values come of another "
                "file of the network's weights, and of clips that are not told; so none stand "
                "beside it."
            ),
            weights=identities(I3D.weights),
        )
