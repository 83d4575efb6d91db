"""The canonical face of the bundle's geometry metadata, a protocol buffer read by hand.

Of the message (``mediapipe.face_geometry.GeometryPipelineMetadata``) we want two fields: the
canonical mesh (1), with its vertex buffer (3: x, y, z, u, v of each vertex, floats), and the
landmarks (2, repeated) that a fit goes by: index (1) and weight (2, float).
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.models.face_landmarker.bundle import GEOMETRY, bundle_error
from stages.models.protobuf import fields
from stages.models.topology import MESH_POINTS


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
            for number, value in fields(metadata):
                if number == 1:
                    buffer += [floats for field, floats in fields(value) if field == 3]
                elif number == 2:
                    landmark = dict(fields(value))
                    weights[landmark[1]] = struct.unpack("<f", landmark[2])[0]
            vertices = np.frombuffer(b"".join(buffer), "<f4").reshape(MESH_POINTS, 5)
        except (KeyError, IndexError, TypeError, ValueError, struct.error) as error:
            raise bundle_error(f"{GEOMETRY} holds no canonical face ({error})") from error
        if not weights.any():
            raise bundle_error(f"{GEOMETRY} names no landmarks to fit by")
        return cls(vertices[:, :3].astype(np.float64), weights)
