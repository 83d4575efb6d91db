"""The face mesh: which landmarks make its triangles, and which surround its eyes.

Sides are those of the picture: the image-left eye is the right eye of an unmirrored person
(MediaPipe calls it "left").
"""

import ast
from functools import cache

import numpy as np

from infra.weights import weight_path

MESH_POINTS = 468
"""Landmarks of the mesh net; the irises follow as 468..472 (image-left) and 473..477."""

IMAGE_LEFT_EYE_CORNERS = (33, 133)
IMAGE_RIGHT_EYE_CORNERS = (362, 263)

# The 71 landmarks around an eye, in the iris net's order (the right eye's mirrored): the lids
# first (16), then rings around them, the brow last.
# fmt: off
IMAGE_LEFT_EYE_CONTOUR = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24,
    23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244,
    113, 225, 224, 223, 222, 221, 189, 35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121,
    128, 245, 156, 70, 63, 105, 66, 107, 55, 193,
)
IMAGE_RIGHT_EYE_CONTOUR = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339,
    254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451,
    452, 453, 464, 342, 445, 444, 443, 442, 441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346,
    347, 348, 349, 350, 357, 465, 383, 300, 293, 334, 296, 336, 285, 417,
)
# fmt: on


@cache
def face_mesh_triangles() -> np.ndarray:
    """Triangles of the 468-point mesh, read (never run) from MediaPipe's published edge list.

    The list names each triangle as three edges in a row, (a, b), (b, c), (c, a). Every
    triangle runs counter-clockwise as the viewer sees the front of a face on the screen, so
    that with x right, y up and z towards the viewer its normal points out of the head. In
    pixel coordinates, where y goes down, ``cross(b - a, c - a)`` of a front side is negative.
    The 88 open edges are the outline of the face, the eyes and the mouth.

    Returns:
        Indices 0..467, int32 of shape (852, 3), read-only.

    Raises:
        WeightsError: The list cannot be had.
    """
    edges = _tessellation(weight_path("face_mesh_topology").read_text(encoding="utf-8"))
    triples = edges.reshape(-1, 3, 2)
    if not (triples[:, :, 1] == np.roll(triples[:, :, 0], -1, axis=1)).all():
        raise ValueError("the face mesh's edges do not run around triangles three by three")
    triangles = np.ascontiguousarray(triples[:, :, 0], dtype=np.int32)
    triangles.setflags(write=False)
    return triangles


def _tessellation(source: str) -> np.ndarray:
    """The pairs of ``FACEMESH_TESSELATION = frozenset([...])``, in order, as (n, 2)."""
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id="FACEMESH_TESSELATION")], value=ast.Call(args=[pairs])
            ):
                return np.array(ast.literal_eval(pairs))
    raise ValueError("no FACEMESH_TESSELATION in the face mesh's edge list")
