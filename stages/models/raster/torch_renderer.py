"""The renderer of whichever rasteriser works on torch tensors: frames in batches."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.models.raster.renderer import PosedMesh
from stages.models.raster.torch_shading import (
    FragmentBatch,
    incidence,
    shade,
    to_bytes,
    vertex_normals,
    visible_normals,
)
from stages.models.shading import ALBEDO, Surface

BatchRasteriser = Callable[[Tensor, Tensor, tuple[int, int]], FragmentBatch]
"""Takes vertices (T, V, 3) in the image frame, faces int64 (F, 3), and (height, width)."""

T = TypeVar("T")


class _Topology(NamedTuple):
    """Which array of faces, (F, 3), is on the device; told by its identity."""

    array: NDArray[Any]
    faces: Tensor
    around: Tensor


class TorchRenderer:
    """Rasterises, interpolates and shades batches of frames on one device.

    Only what is asked for leaves the device: of `pictures`, three bytes a pixel.

    Args:
        rasterise: Finds what each pixel sees.
        device: Where.
        batch: Frames at a time; one of 512x512 pixels takes some 50 MB for a moment.
    """

    def __init__(
        self, rasterise: BatchRasteriser, device: torch.device, *, batch: int = 16
    ) -> None:
        self._rasterise = rasterise
        self._device = device
        self._batch = batch
        self._topology: _Topology | None = None

    def surfaces(self, meshes: Iterable[PosedMesh], size: tuple[int, int]) -> Iterator[Surface]:
        """See `stages.models.raster.renderer.Renderer`."""
        for some in batches(meshes, self._batch):
            for drawn, normals in zip(*self._visible(some, size), strict=True):
                pixels = drawn.flatten().nonzero()[:, 0]
                found = normals.flatten(0, 1)[pixels]
                yield Surface(size, pixels.cpu().numpy(), found.cpu().numpy())

    def pictures(
        self, meshes: Iterable[PosedMesh], lights: Iterable[NDArray[Any]], size: tuple[int, int]
    ) -> Iterator[NDArray[np.uint8]]:
        """See `stages.models.raster.renderer.Renderer`."""
        for some in batches(zip(meshes, lights, strict=True), self._batch):
            drawn, normals = self._visible([mesh for mesh, _ in some], size)
            light = self._tensor([light for _, light in some])
            colours = ALBEDO * shade(light, normals)
            yield from to_bytes(colours * drawn[..., None]).cpu().numpy()

    def _visible(self, meshes: list[PosedMesh], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        camera = self._tensor([mesh.camera for mesh in meshes])
        image = self._tensor([mesh.image for mesh in meshes])
        faces, around = self._connected(meshes[0].faces, image.shape[1])
        normals = vertex_normals(camera, faces, around)
        facing = vertex_normals(image, faces, around)[..., 2]
        return visible_normals(self._rasterise(image, faces, size), faces, normals, facing)

    def _connected(self, faces: NDArray[Any], vertices: int) -> tuple[Tensor, Tensor]:
        """A mesh's faces and their incidence on the device; a clip's are worked out once."""
        kept = self._topology
        if kept is None or kept.array is not faces or kept.around.shape[1] != vertices:
            index = torch.from_numpy(faces.astype(np.int64)).to(self._device)
            around = torch.from_numpy(incidence(faces, vertices)).to(self._device)
            kept = self._topology = _Topology(faces, index, around)
        return kept.faces, kept.around

    def _tensor(self, arrays: list[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(self._device)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one perhaps shorter."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
