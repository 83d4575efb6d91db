"""FID: how far the frames of a method's films are, as a set, from real ones."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import MetricInfo
from evaluation.metrics.frechet_standard import EXTRAPOLATED, FrechetMetric, Look, NetworkVectors
from evaluation.metrics.origins import identities
from stages.models.offer import Offer

Resizing = Literal["pytorch-fid", "clean-fid", "torch-fidelity"]

INCEPTION = Offer(
    "evaluation.models.inception_input:PictureFeatures",
    ("inception_fid",),
    ("torch", "safetensors"),
)
"""The network."""


class InceptionVectors(NetworkVectors):
    """Inception's last features of every frame, 2048 numbers.

    Args:
        resizing: How frames come to the network.
    """

    name = "inception_vectors"
    offer: ClassVar[Offer] = INCEPTION
    width: ClassVar[int] = 2048
    chunk: ClassVar[int] = 8

    def __init__(self, resizing: Resizing = "pytorch-fid") -> None:
        super().__init__()
        self._resizing = resizing

    def options(self) -> Mapping[str, Any]:
        """How frames come to the network."""
        return {"resizing": self._resizing}

    def load(self) -> Look:
        """The network, ready."""
        look: Look = self.offer.load()(self._resizing)
        return look

    def shown(self, chunk: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """All frames."""
        return chunk


class Fid(FrechetMetric):
    """Fréchet Inception distance (Heusel et al. 2017).

    Args:
        resizing: How frames come to the network; values of different ways cannot be compared.
        infinite: Extrapolate to infinitely many outputs (Chong and Forsyth 2020).
    """

    draws = 25

    def __init__(self, resizing: Resizing = "pytorch-fid", *, infinite: bool = False) -> None:
        super().__init__(InceptionVectors(resizing), infinite=infinite)
        self._resizing = resizing

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        standard = self._resizing == "pytorch-fid"
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
                f"divided by n - 1{EXTRAPOLATED if self._infinite else ''}. The paper names no "
                "code for it; so no published values stand beside it."
            ),
            weights=identities(INCEPTION.weights),
        )
