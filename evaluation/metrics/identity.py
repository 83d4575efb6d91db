"""ID: whether an output still shows the same person.

ArcFace's embedding of each frame's face (Deng et al. 2019), aligned by our landmarks, and the
cosine with that of the original. Its stand-in, where none of ArcFace's weights are here, describes
the aligned face by local binary patterns.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

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
from evaluation.metrics.chunks import ChunkedPass
from evaluation.metrics.origins import identities, versions
from evaluation.metrics.seen import seen_landmarks
from evaluation.models.local_binary import SIZE, local_binary_vectors
from stages.landmarks import Landmarks
from stages.models.arcface.align import align_face
from stages.models.arcface.embed import ARCFACE, ArcFaceName, FaceEmbedder, cosine
from stages.models.faces import FACE_MODELS

EmbedderName = ArcFaceName | Literal["local_binary"]

Embed = Callable[[Sequence[NDArray[np.uint8]], NDArray[Any]], NDArray[np.float32]]
"""Unit vectors (N, D) of the faces with landmarks (N, 478, 3) in N pictures."""

_LOCAL: Final = "local_binary"
_CHUNK = 16
_COMPARED: tuple[Role, Role] = ("output", "reference")


class FaceVectors(Extractor):
    """Who is seen in each frame: ``vector`` (n, D) float32 of unit length, NaN without a face.

    Each frame is looked at by itself, so that a face lost in one costs that one only.

    Args:
        embedder: One of ArcFace's networks, or ``local_binary``.
    """

    def __init__(self, embedder: EmbedderName) -> None:
        # A case may hold features of several embedders, by name.
        self.name = f"face_vectors_{embedder}"
        self._name = embedder
        self._embed: Embed | None = None

    def weights(self) -> tuple[str, ...]:
        """Those of the network and of the landmarks."""
        own = () if self._name == _LOCAL else ARCFACE[self._name].weights
        return (*own, *FACE_MODELS["mediapipe"].weights)

    def options(self) -> Mapping[str, Any]:
        """What tells who a face is, and the stage whose model finds it."""
        return {"embedder": self._name, "stages": versions(Landmarks)}

    def setup(self) -> None:
        """Load the network.

        Raises:
            UsageError: A package that it needs is not installed.
            WeightsError: Its weights are not here, or are another network's.
        """
        if self._name == _LOCAL:
            self._embed = _local_binary
        else:
            self._embed = FaceEmbedder(self._name, batch=_CHUNK).embed

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
        return _FacePass(frames, SIZE if self._name == _LOCAL else 512, self._embed)


class Identity(ClipMetric):
    """Cosine of the face's vector with the original's.

    A film that is relit is held against itself, frame by frame; an animated portrait against
    the portrait: the first frame of the reference in which there is a face.

    Args:
        embedder: What tells who a face is: one of ArcFace's networks, or ``local_binary``.
    """

    def __init__(self, embedder: EmbedderName) -> None:
        self._name = embedder
        self._vectors = FaceVectors(embedder)

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        against = "the same frame of the film that was relit, or with the portrait that was moved"
        weights = identities(self._vectors.weights())
        if self._name == _LOCAL:
            return MetricInfo(
                name="identity_local_binary",
                title="ID (LBP)",
                higher_is_better=True,
                unit="",
                range=(0.0, 1.0),
                estimator="local binary patterns",
                grade="embedded",
                definition=f"Mean Bhattacharyya coefficient of the aligned face's uniform local "
                f"binary patterns in 7 x 7 cells (Ahonen et al. 2006) with {against}.",
                weights=weights,
            )
        return MetricInfo(
            name="identity",
            title="ID",
            higher_is_better=True,
            unit="",
            range=(-1.0, 1.0),
            estimator=f"ArcFace ({self._name})",
            grade="standard",
            definition=f"Cosine of the face's ArcFace embedding (Deng et al. 2019) with {against}. "
            "Numbers of different checkpoints are not comparable, and the paper names none; so no "
            "published ones stand beside it.",
            weights=weights,
        )

    def extractors(self) -> Mapping[Role, Extractor]:
        """Of the output and of the original."""
        return {"output": self._vectors, "reference": self._vectors}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """Values (n,); NaN in frames where a face is missing, all of them if the portrait's is.

        Raises:
            ValueError: A film was relit, and has another length than its original; or nothing was
                found in one of them.
        """
        output, original = (case.of(role, self._vectors.name)["vector"] for role in _COMPARED)
        if case.light is None:
            seen = np.flatnonzero(np.isfinite(original).all(axis=1))
            # Without any face there is nothing but NaN to compare with.
            original = original[seen[:1]] if len(seen) else original[:1]
        elif len(output) != len(original):
            raise ValueError(f"{len(output)} frames of output, but {len(original)} that were relit")
        return cosine(output, original)


class _FacePass(ChunkedPass):
    def __init__(self, frames: int, width: int, embed: Embed) -> None:
        super().__init__(_CHUNK)
        self._embed = embed
        self._done = 0
        self._vectors = np.full((frames, width), np.nan, np.float32)

    def see(self, chunk: NDArray[np.uint8]) -> None:
        looks = [(place, seen_landmarks(frame)) for place, frame in enumerate(chunk)]
        found = [(place, points) for place, points in looks if points is not None]
        if found:
            pictures = [chunk[place] for place, _ in found]
            rows = [self._done + place for place, _ in found]
            self._vectors[rows] = self._embed(pictures, np.stack([points for _, points in found]))
        self._done += len(chunk)

    def result(self) -> dict[str, NDArray[Any]]:
        return {"vector": self._vectors}


def _local_binary(
    pictures: Sequence[NDArray[np.uint8]], landmarks: NDArray[Any]
) -> NDArray[np.float32]:
    """Descriptions (N, D) of the aligned faces."""
    pairs = zip(pictures, landmarks, strict=True)
    return local_binary_vectors(np.stack([align_face(*pair) for pair in pairs]))
