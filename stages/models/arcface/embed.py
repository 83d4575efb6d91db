"""Face identity: embeddings of faces, and how alike two of them are."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.models.arcface.align import align_face
from stages.models.offer import Offer

ArcFaceName = Literal[
    "arcface_w600k_r50", "arcface_glintr100", "arcface_r50_torch", "arcface_r100_torch"
]

_PACK = "stages.models.arcface.pack:OnnxArcFace"
_TORCH = "stages.models.arcface.iresnet:TorchArcFace"

ARCFACE: dict[ArcFaceName, Offer] = {
    "arcface_w600k_r50": Offer(_PACK, ("arcface_w600k_r50",), ("onnxruntime", "torch")),
    "arcface_glintr100": Offer(_PACK, ("arcface_glintr100",), ("onnxruntime", "torch")),
    "arcface_r50_torch": Offer(_TORCH, ("arcface_r50_torch",), ("torch", "safetensors")),
    "arcface_r100_torch": Offer(_TORCH, ("arcface_r100_torch",), ("torch", "safetensors")),
}
"""Networks by name: those of the packs buffalo_l (WebFace600K) and antelopev2 (Glint360K), and
two that take InsightFace's ``backbone.pth``."""


class FaceNet(Protocol):
    """What an embedder asks of a network."""

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (N, 512) of aligned faces (N, 112, 112, 3), RGB."""


class FaceEmbedder:
    """Tells who faces are.

    Similarities of different networks are not comparable: say which one gave a number.

    Args:
        model: Name of the network.
        batch: Faces that it sees at once.

    Raises:
        UsageError: A package that the network needs is not installed.
        WeightsError: Its weights are not here, or are another network's.
    """

    def __init__(self, model: ArcFaceName = "arcface_w600k_r50", *, batch: int = 32) -> None:
        offer = ARCFACE[model]
        self._net: FaceNet = offer.load()(*offer.weights)
        self._batch = batch

    def embed(
        self, pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], landmarks: NDArray[Any]
    ) -> NDArray[np.float32]:
        """Embeddings of one face in each picture.

        Args:
            pictures: N times (H, W, 3), RGB, of any sizes.
            landmarks: (N, 478, 2 or 3), the faces' landmarks in pixels.

        Returns:
            (N, 512), each of unit length.

        Raises:
            ValueError: There are more of the ones than of the others.
        """
        if len(pictures) != len(landmarks):
            raise ValueError(f"{len(pictures)} pictures, but landmarks of {len(landmarks)} faces")
        embeddings = np.empty((len(pictures), 512), np.float32)
        for start in range(0, len(pictures), self._batch):
            some = slice(start, start + self._batch)
            pairs = zip(pictures[some], landmarks[some], strict=True)
            faces = np.stack([align_face(picture, points) for picture, points in pairs])
            embeddings[some] = self._net(faces)
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def cosine(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Cosine similarity of embeddings (..., 512), of any length: -1..1, 1 for the same face.

    Args:
        first: (..., 512).
        second: (..., 512), of a shape that goes with the first's.

    Returns:
        (...).
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.clip((a * b).sum(axis=-1) / lengths, -1, 1)
