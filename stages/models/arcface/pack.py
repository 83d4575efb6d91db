"""ArcFace networks of InsightFace's model packs, through ONNX Runtime."""

from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.errors import WeightsError
from infra.weights import weight_path
from stages.models.onnx_session import OnnxNet
from stages.models.protobuf import fields

_SIZE, _EMBEDDING = 112, 512
_FIRST = 8  # operators among which InsightFace looks for a normalisation

# Where an ONNX file, a protocol buffer, keeps them: fields of its messages (onnx.proto3).
_MODEL_GRAPH, _GRAPH_NODE, _NODE_OPERATOR = 7, 1, 4


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
    """Types of the first operators of an ONNX file, in the file's order.

    For a file that ONNX Runtime has opened, and so found well-formed.
    """
    model = memoryview(path.read_bytes())
    graphs = (value for field, value in fields(model) if field == _MODEL_GRAPH)
    nodes = (value for graph in graphs for field, value in fields(graph) if field == _GRAPH_NODE)
    return [
        bytes(value).decode()
        for node in islice(nodes, count)
        for field, value in fields(node)
        if field == _NODE_OPERATOR
    ]
