"""The canonical face of the bundle's geometry metadata, a protocol buffer read by hand.

Of the message (``mediapipe.face_geometry.GeometryPipelineMetadata``) we want two fields: the
canonical mesh (1), with its vertex buffer (3: x, y, z, u, v of each vertex, floats), and the
landmarks (2, repeated) that a fit goes by: index (1) and weight (2, float).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.models.face_landmarker.bundle import GEOMETRY, bundle_error
from stages.models.topology import MESH_POINTS

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # the encoding's wire types


@dataclass(frozen=True)
class CanonicalFace:
    """A neutral face, and how much each of its points is to be trusted in a fit.

    Attributes:
        points: float64 (468, 3): centimetres, x to the viewer's right, y up, z to the viewer.
        weights: float64 (468,): 0 for most, which move with speech and expression.
    """

    points: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def parse(cls, metadata: bytes) -> "CanonicalFace":
        """Read the bundle's geometry metadata.

        Raises:
            WeightsError: It is something else.
        """
        buffer: list[bytes] = []
        weights = np.zeros(MESH_POINTS)
        try:
            for number, value in _fields(metadata):
                if number == 1:
                    buffer += [floats for field, floats in _fields(value) if field == 3]
                elif number == 2:
                    landmark = dict(_fields(value))
                    weights[landmark[1]] = struct.unpack("<f", landmark[2])[0]
            vertices = np.frombuffer(b"".join(buffer), "<f4").reshape(MESH_POINTS, 5)
        except (KeyError, IndexError, TypeError, ValueError, struct.error) as error:
            raise bundle_error(f"{GEOMETRY} holds no canonical face ({error})") from error
        if not weights.any():
            raise bundle_error(f"{GEOMETRY} names no landmarks to fit by")
        return cls(vertices[:, :3].astype(np.float64), weights)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Fields of an encoded message, in order: number, and an int (varint) or the raw bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {wire}")
        if at + length > len(message):
            raise ValueError("it ends within a field")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that starts at byte ``at``, seven bits a byte, and where it ends."""
    value, shift = 0, 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
