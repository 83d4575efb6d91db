"""What draws a posed mesh: one interface, chosen by name.

A geometry model says where the mesh is (`PosedMesh`), a renderer what is seen of it. Renderers
agree on all but rounding, and a config names its own: which one draws never depends on what a
machine happens to have.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.models.offer import Offer
from stages.models.shading import ShapePainter, Surface, vertex_normals, visible_surface

RendererName = Literal["numba", "cuda", "pytorch3d"]
"""`numba`: on the processor, anywhere. `cuda`: the same on a GPU. `pytorch3d`: PyTorch3D."""


@dataclass(frozen=True)
class PosedMesh:
    """A mesh in one frame, as it is and as it is seen (frames: see `stages.models.shading`).

    Attributes:
        camera: Floats (V, 3), in the camera frame and any unit: shaded by these normals.
        image: Floats (V, 3), in the image frame, z in the unit of x and y.
        faces: Integers (F, 3), counter-clockwise seen from outside; the same array in all
            frames of a clip.
    """

    camera: NDArray[Any]
    image: NDArray[Any]
    faces: NDArray[Any]


class Renderer(Protocol):
    """Draws the frames of a clip. Frames are drawn from the iterables as they are needed."""

    def surfaces(self, meshes: Iterable[PosedMesh], size: tuple[int, int]) -> Iterator[Surface]:
        """What is visible of each frame's mesh.

        Args:
            meshes: One a frame.
            size: (height, width) in pixels.
        """

    def pictures(
        self, meshes: Iterable[PosedMesh], lights: Iterable[NDArray[Any]], size: tuple[int, int]
    ) -> Iterator[NDArray[np.uint8]]:
        """LCVD's shading picture of each frame, uint8 RGB (height, width, 3).

        Args:
            meshes: One a frame.
            lights: Coefficients (9, 3), one a frame.
            size: (height, width) in pixels.
        """


class NumbaRenderer:
    """The renderer of the core: one frame after the other, on one thread of the processor."""

    def surfaces(self, meshes: Iterable[PosedMesh], size: tuple[int, int]) -> Iterator[Surface]:
        """See `Renderer`."""
        for mesh in meshes:
            normals = vertex_normals(mesh.camera, mesh.faces)
            yield visible_surface(normals, mesh.image, mesh.faces, size)

    def pictures(
        self, meshes: Iterable[PosedMesh], lights: Iterable[NDArray[Any]], size: tuple[int, int]
    ) -> Iterator[NDArray[np.uint8]]:
        """See `Renderer`."""
        painter = ShapePainter(size)
        for mesh, light in zip(meshes, lights, strict=True):
            normals = vertex_normals(mesh.camera, mesh.faces)
            yield painter.picture(normals, mesh.image, mesh.faces, light)


PROCESSOR: Renderer = NumbaRenderer()
"""What draws where nothing else is asked for."""

RENDERERS: Mapping[RendererName, Offer] = {
    "numba": Offer("stages.models.raster.renderer:NumbaRenderer"),
    "cuda": Offer("stages.models.raster.cuda:CudaRenderer", packages=("torch", "triton"), gpu=True),
    "pytorch3d": Offer(
        "stages.models.raster.pytorch3d:Pytorch3dRenderer",
        packages=("torch", "pytorch3d"),
        hint="PyTorch3D is built from its source for a machine's torch and CUDA (its INSTALL.md);"
        ' renderer = "numba" and "cuda" need no such build and draw the same',
        slowest=15.0,
    ),
}
"""Renderers by the name that a config gives."""


def load_renderer(name: RendererName) -> Renderer:
    """The renderer of a name, ready to draw.

    Raises:
        UsageError: A package is missing, or the GPU that it needs.
    """
    renderer: Renderer = RENDERERS[name].load()()
    return renderer
