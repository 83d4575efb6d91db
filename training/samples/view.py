"""What is seen of a clip's pictures: a square cut out of them, at the size of training.

Pixel ``i`` covers ``i`` to ``i + 1``; a cut has whole pixels as its edges, so that pictures,
landmarks and meshes are moved by the very same numbers.
"""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.models.raster.renderer import PosedMesh


@dataclass(frozen=True)
class View:
    """A square cut, resized.

    Attributes:
        whole: Side of the pictures that are cut, in pixels.
        left: First column of the cut.
        top: First row.
        side: Of the cut.
        size: Of the result, in pixels.
    """

    whole: int
    left: int
    top: int
    side: int
    size: int

    @classmethod
    def full(cls, whole: int, size: int) -> "View":
        """All of pictures of side ``whole``, at another size."""
        return cls(whole, 0, 0, whole, size)

    def at(self, size: int) -> "View":
        """The same cut at another size."""
        return replace(self, size=size)

    def pictures(self, pictures: NDArray[Any]) -> NDArray[Any]:
        """Cut and resize pictures (n, whole, whole[, C]) to (n, size, size[, C]).

        Smaller ones are averaged by area, larger ones interpolated cubically. What needs
        neither is not copied.
        """
        rows, columns = (slice(start, start + self.side) for start in (self.top, self.left))
        cut = pictures[:, rows, columns]
        if self.side == self.size:
            return cut
        kind = cv2.INTER_AREA if self.size < self.side else cv2.INTER_CUBIC
        result = np.empty((len(cut), self.size, self.size, *cut.shape[3:]), cut.dtype)
        for picture, place in zip(cut, result, strict=True):
            cv2.resize(picture, (self.size, self.size), dst=place, interpolation=kind)
        return result

    def points(self, points: NDArray[Any]) -> NDArray[np.float32]:
        """Bring landmarks to LCVD's coordinates: pixel indices over the side, in the cut.

        Args:
            points: (..., 2 or more), x and y in pixels, the centre of pixel ``i`` at ``i``.

        Returns:
            float32 (..., 2), 0 to 1 within the cut.
        """
        corner = np.array([self.left, self.top], np.float32)
        return ((points[..., :2] - corner) / np.float32(self.side)).astype(np.float32)

    def mesh(self, mesh: PosedMesh) -> PosedMesh:
        """Bring a mesh, as it is seen in the whole picture, to where it is in the cut."""
        if self.side == self.whole:
            return mesh
        scale = self.whole / self.side
        middle = np.array([self.left, self.top]) * 2 + self.side - self.whole
        shift = np.array([*middle / self.whole, 0.0])
        return replace(mesh, image=(mesh.image - shift) * scale)
