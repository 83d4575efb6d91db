"""ArcFace networks of InsightFace's model packs, through ONNX Runtime."""

from collections.abc import Iterator
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.errors import WeightsError
from infra.weights import weight_path
from stages.models.onnx_session import OnnxNet

_SIZE, _EMBEDDING = 112, 512
_FIRST = 8  # operators among which InsightFace looks for a normalisation

# Where the ONNX format (onnx.proto3) keeps them: field numbers of protocol buffers.
_MODEL_GRAPH, _GRAPH_NODE, _NODE_OPERATOR = 7, 1, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class OnnxArcFace:
    """A network of a pack.

    Args:
        weight: Its name in the registry of weights.

    Raises:
        WeightsError: The weight is not here, or is no such network.
    """

    def __init__(self, weight: str) -> None:
        self._weight = weight
        path = weight_path(weight)
        self._net = OnnxNet(path, (3, _SIZE, _SIZE), name=weight)
        # Packs that came from MXNet subtract the mean and scale by themselves.
        baked = {"Sub", "Mul"} <= set(first_operators(path, _FIRST))
        self._mean, self._scale = (0.0, 1.0) if baked else (127.5, 127.5)

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (N, 512) of aligned faces (N, 112, 112, 3), RGB.

        Raises:
            WeightsError: The network gives something else.
        """
        batch = (np.float32(faces.transpose(0, 3, 1, 2)) - self._mean) / self._scale
        (embeddings,) = self._net(np.ascontiguousarray(batch, np.float32))
        if embeddings.shape != (len(faces), _EMBEDDING):
            raise WeightsError(
                f"{self._weight} gives {embeddings.shape} for {len(faces)} faces, "
                f"not {(len(faces), _EMBEDDING)}",
                hint="see `limelight weights list` for the file that is meant",
            )
        return embeddings


def first_operators(path: Path, count: int) -> list[str]:
    """Types of the first operators of an ONNX file, in the file's order; reads no weights.

    Only for a file that ONNX Runtime has opened, and so found well-formed.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as model:
        graphs = _fields(model, 0, len(model), _MODEL_GRAPH)
        nodes = (node for graph in graphs for node in _fields(model, *graph, _GRAPH_NODE))
        operators = (
            operator
            for node in islice(nodes, count)
            for operator in _fields(model, *node, _NODE_OPERATOR)
        )
        return [model[start:end].decode() for start, end in operators]


def _fields(message: mmap, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the fields of one number lie in a message: each one's first byte, and its end."""
    while start < end:
        tag, start = _varint(message, start)
        field, kind = tag >> 3, tag & 7
        if kind == _BYTES:
            length, start = _varint(message, start)
            if field == wanted:
                yield start, start + length
            start += length
        elif kind == _VARINT:
            _, start = _varint(message, start)
        else:
            start += {_FIXED64: 8, _FIXED32: 4}[kind]


def _varint(message: mmap, start: int) -> tuple[int, int]:
    """A number of seven bits a byte, least first; and where the next thing starts."""
    value = shift = 0
    while True:
        byte = message[start]
        value, shift, start = value | (byte & 127) << shift, shift + 7, start + 1
        if byte < 128:
            return value, start
