"""FVD: how far a method's clips are, as a set, from real ones: frames and how they move."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import MetricInfo
from evaluation.metrics.frechet_standard import EXTRAPOLATED, FrechetMetric, NetworkVectors
from evaluation.metrics.origins import identities
from stages.models.offer import Offer

I3D = Offer("evaluation.models.i3d:ClipLogits", ("i3d",), ("torch", "safetensors"))
"""The network of FVD."""

VIDEOMAE = Offer(
    "evaluation.models.videomae:load_clip_features", ("videomae_ssv2",), ("torch", "safetensors")
)
"""The network of the content-debiased FVD. It has a billion weights: on one core of a
processor a clip takes a minute or two."""

CLIP = 16
"""Frames of a clip, as StyleGAN-V has them. A film's clips follow each other, and what is left at
its end is in none."""


class ClipVectors(NetworkVectors):
    """A network's vector of every clip of 16 frames."""

    chunk: ClassVar[int] = CLIP

    def options(self) -> Mapping[str, Any]:
        """How films are cut."""
        return {"clip": CLIP}

    def shown(self, chunk: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The chunk as one clip; nothing of the rest of a film."""
        whole = len(chunk) // CLIP
        return chunk[: whole * CLIP].reshape(whole, CLIP, *chunk.shape[1:])


class MotionVectors(ClipVectors):
    """I3D's 400 logits of every clip."""

    name = "i3d_vectors"
    offer: ClassVar[Offer] = I3D
    width: ClassVar[int] = 400


class DebiasedVectors(ClipVectors):
    """VideoMAE-v2's 1408 features of every clip."""

    name = "videomae_vectors"
    offer: ClassVar[Offer] = VIDEOMAE
    width: ClassVar[int] = 1408


class Fvd(FrechetMetric):
    """Fréchet video distance (Unterthiner et al. 2018), by StyleGAN-V's protocol.

    Args:
        infinite: Extrapolate to infinitely many clips (Chong and Forsyth 2020).
    """

    ddof: ClassVar[int] = 0
    draws = 100

    def __init__(self, *, infinite: bool = False) -> None:
        super().__init__(MotionVectors(), infinite=infinite)

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
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
                f"{EXTRAPOLATED if self._infinite else ''}. Published values come of another "
                "file of the network's weights, and of clips that are not told; so none stand "
                "beside it."
            ),
            weights=identities(I3D.weights),
        )


class ContentDebiasedFvd(FrechetMetric):
    """FVD in features that tell how things move rather than what they are (Ge et al. 2024)."""

    ddof: ClassVar[int] = 0
    draws = 25

    def __init__(self) -> None:
        super().__init__(DebiasedVectors())

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return MetricInfo(
            name="fvd_content_debiased",
            title="FVD (content-debiased)",
            higher_is_better=False,
            unit="",
            range=(0.0, float("inf")),
            estimator="VideoMAE-v2 ViT-g/14 on Something-Something v2",
            grade="standard",
            definition=(
                f"Squared Fréchet distance between the outputs' and the driving films' clips of "
                f"{CLIP} frames in the 1408 features of VideoMAE-v2 that its classifier of actions "
                "reads (Ge et al. 2024), covariances divided by n as in their code, cd-fvd. It is "
                "on another scale than FVD."
            ),
            weights=identities(VIDEOMAE.weights),
        )
