"""Stand-ins for FID and FVD: the Fréchet distance in a random embedding.

After Naeem et al. ("Reliable fidelity and diversity metrics for generative models", 2020), who
embed pictures by a network that nobody trained. The distance tells sets apart that differ in
colours, light and texture; of what a picture shows it knows nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import Extractor, FeaturePass, MetricInfo
from evaluation.metrics.chunks import ChunkedPass, resized
from evaluation.metrics.frechet_standard import FrechetMetric
from stages.models.offer import Offer

EmbeddedKind = Literal["pictures", "clips"]

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

CLIP = 16
"""Frames of a clip, as StyleGAN-V's FVD has them. A film's clips follow each other, and what is
left at its end is in none."""

_WIDTH = 64


@dataclass(frozen=True)
class _Kind:
    """What is embedded.

    Attributes:
        name: The metric's.
        title: Its column's heading.
        size: Side in pixels to which frames are brought.
        offer: The network.
        what: What a distance is of, in words.
    """

    name: str
    title: str
    size: int
    offer: Offer
    what: str


_MODULE = "evaluation.models.random_features"

_KINDS: dict[EmbeddedKind, _Kind] = {
    "pictures": _Kind(
        name="frechet_random",
        title="FID (random)",
        size=128,
        offer=Offer(f"{_MODULE}:RandomPictures", packages=("torch", "safetensors")),
        what="frames",
    ),
    "clips": _Kind(
        name="frechet_random_video",
        title="FVD (random)",
        size=64,
        offer=Offer(f"{_MODULE}:RandomClips", packages=("torch", "safetensors")),
        what=f"clips of {CLIP} frames",
    ),
}


def random_offer(kind: EmbeddedKind) -> Offer:
    """The network for single frames, or for clips."""
    return _KINDS[kind].offer


class _Vectors(Extractor):
    """Random embeddings: what both extractors share."""

    kind: ClassVar[EmbeddedKind]

    def __init__(self) -> None:
        self._embed: Embed | None = None

    def options(self) -> Mapping[str, Any]:
        """Size of the frames, and how many go through the network at once."""
        return {"size": _KINDS[self.kind].size, "frames": CLIP}

    def setup(self) -> None:
        """Make the network.

        Raises:
            UsageError: Torch is not installed.
        """
        self._embed = _KINDS[self.kind].offer.load()()

    def close(self) -> None:
        """Let go of it."""
        self._embed = None

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film.

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._embed is None:
            raise RuntimeError(f"{self.name}: call setup before start")
        return _VectorPass(self.kind, self._embed)


class FrameVectors(_Vectors):
    """Random embeddings of a film's frames: ``vector`` (n, 64) float32."""

    name = "random_frames"
    kind: ClassVar[EmbeddedKind] = "pictures"


class ClipVectors(_Vectors):
    """Random embeddings of a film's clips: ``vector`` (n // 16, 64) float32."""

    name = "random_clips"
    kind: ClassVar[EmbeddedKind] = "clips"


class RandomFrechet(FrechetMetric):
    """Fréchet distance of the outputs' random embeddings from the driving films'.

    Args:
        kind: Of single frames, or of clips.
    """

    def __init__(self, kind: EmbeddedKind) -> None:
        super().__init__(FrameVectors() if kind == "pictures" else ClipVectors())
        self._kind = _KINDS[kind]

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return MetricInfo(
            name=self._kind.name,
            title=self._kind.title,
            higher_is_better=False,
            unit="",
            range=(0.0, float("inf")),
            estimator=f"random network, {_WIDTH} numbers",
            grade="embedded",
            definition=f"Fréchet distance between the outputs' and the driving films' "
            f"{self._kind.what}, of {self._kind.size} pixels a side, in a random embedding (after "
            "Naeem et al. 2020). Covariances are divided by n - 1.",
        )


class _VectorPass(ChunkedPass):
    def __init__(self, kind: EmbeddedKind, embed: Embed) -> None:
        super().__init__(CLIP)
        self._kind, self._size, self._embed = kind, _KINDS[kind].size, embed
        self._found = [np.empty((0, _WIDTH), np.float32)]

    def see(self, chunk: NDArray[np.uint8]) -> None:
        small = resized(chunk, self._size)
        if self._kind == "pictures":
            self._found.append(self._embed(small))
        elif len(chunk) == CLIP:
            self._found.append(self._embed(small[None]))

    def result(self) -> dict[str, NDArray[Any]]:
        return {"vector": np.concatenate(self._found)}
