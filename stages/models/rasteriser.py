"""A z-buffer rasteriser: which triangle of a mesh each pixel sees, and where on it.

The rule is that of DECA's and LCVD's renders (PyTorch3D without blur, one face a pixel):
a pixel belongs to a triangle when its centre lies strictly inside, the nearest triangle
wins whichever way it faces (of equally near ones the first), and barycentric weights are
linear in the picture.

Compiled with numba, one thread, no fast-math: a render's bits depend on its input alone.
`stages.models.raster.cuda` follows the same arithmetic on a GPU.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NOTHING = -1
"""Face index of a pixel that sees no triangle."""


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees.

    Attributes:
        face: int32 (H, W), index into the faces, `NOTHING` where there is none.
        barycentrics: float32 (H, W, 3), weights of the face's corners; 0 where there is none.
        depth: float32 (H, W), z there; +inf where there is none.
    """

    face: NDArray[np.int32]
    barycentrics: NDArray[np.float32]
    depth: NDArray[np.float32]

    @classmethod
    def nothing(cls, size: tuple[int, int]) -> "Fragments":
        """Of a picture (height, width) in which nothing is seen."""
        return cls(
            np.full(size, NOTHING, np.int32),
            np.zeros((*size, 3), np.float32),
            np.full(size, np.inf, np.float32),
        )

    @property
    def alpha(self) -> NDArray[np.bool_]:
        """Bool (H, W): where there is a face."""
        return self.face != NOTHING


def ndc_to_pixels(vertices: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Bring x and y from [-1, 1] over the picture (x right, y down) to pixels; z stays.

    Args:
        vertices: (..., 3) with x and y normalised so that -1 and 1 are the picture's edges.
        size: (height, width) in pixels.

    Returns:
        float64 (..., 3); pixel ``i`` covers ``i`` to ``i + 1``.
    """
    height, width = size
    half = np.array([width / 2, height / 2, 1.0])
    return np.asarray(vertices, np.float64) * half + np.array([width / 2, height / 2, 0.0])


def rasterise(vertices: NDArray[Any], faces: NDArray[Any], size: tuple[int, int]) -> Fragments:
    """Find the nearest triangle at each pixel's centre.

    Args:
        vertices: (V, 3): x right and y down in pixels, pixel ``i`` covering ``i`` to
            ``i + 1`` with its centre at ``i + 0.5``; z in any unit, smaller is nearer.
        faces: (F, 3) vertex indices; the winding does not matter. Triangles without area,
            or with a corner that is not finite, are not drawn.
        size: (height, width) in pixels.

    Raises:
        ValueError: A shape is wrong, or a face names a vertex that there is not.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"vertices must have shape (V, 3), not {vertices.shape}")
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"faces must have shape (F, 3), not {faces.shape}")
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices):
        raise ValueError(
            f"faces must index the {len(vertices)} vertices, not {faces.min()} to {faces.max()}"
        )
    fragments = Fragments.nothing(size)
    nearest_faces(
        np.ascontiguousarray(vertices, np.float64),
        np.ascontiguousarray(faces, np.int32),
        fragments.face,
        fragments.barycentrics,
        fragments.depth,
    )
    return fragments


@njit(cache=True, nogil=True)
def nearest_faces(vertices: Any, faces: Any, face: Any, barycentrics: Any, depth: Any) -> None:
    """What `rasterise` does, into arrays that are given; for compiled code."""
    height, width = face.shape
    for index in range(len(faces)):
        ax, ay, az = vertices[faces[index, 0]]
        bx, by, bz = vertices[faces[index, 1]]
        cx, cy, cz = vertices[faces[index, 2]]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0 or not np.isfinite(area) or not np.isfinite(az + bz + cz):
            continue
        scale = 1.0 / area
        # Rows and columns whose centres lie within the bounding box. Clamped as numbers
        # before they become integers, so that far-off corners cannot overflow.
        top = int(max(0.0, np.ceil(min(ay, by, cy) - 0.5)))
        bottom = int(min(height - 1.0, np.floor(max(ay, by, cy) - 0.5)))
        left = int(max(0.0, np.ceil(min(ax, bx, cx) - 0.5)))
        right = int(min(width - 1.0, np.floor(max(ax, bx, cx) - 0.5)))
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * scale
                wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * scale
                wc = ((ax - x) * (by - y) - (ay - y) * (bx - x)) * scale
                if wa > 0.0 and wb > 0.0 and wc > 0.0:
                    # Compared as it is kept: of triangles equally near, the first is seen.
                    z = np.float32(wa * az + wb * bz + wc * cz)
                    if z < depth[row, column]:
                        depth[row, column] = z
                        face[row, column] = index
                        barycentrics[row, column, 0] = wa
                        barycentrics[row, column, 1] = wb
                        barycentrics[row, column, 2] = wc
