"""PyTorch3D's rasteriser, called as DECA and LCVD call it: for those who must match their data.

Its frame has x to the left and y up, from -1 to 1 over the picture's shorter side (Ravi et al.
2020, "Accelerating 3D Deep Learning with PyTorch3D"; its notes on cameras). It leaves out what
lies behind z = 0, so that the reference moves the mesh away first. It takes seconds a frame
without a GPU.
"""

import torch
from pytorch3d.renderer.mesh import rasterize_meshes
from pytorch3d.structures import Meshes
from torch import Tensor

from stages.models.nets import best_device
from stages.models.raster.torch_renderer import TorchRenderer
from stages.models.raster.torch_shading import FragmentBatch
from stages.models.rasteriser import NOTHING

FAR = 10.0
"""How far the mesh is moved away (DECA); it costs the float32 depth two digits."""


class Pytorch3dRenderer(TorchRenderer):
    """Draws with PyTorch3D, on the GPU where there is one.

    Args:
        batch: Frames at a time.
    """

    def __init__(self, *, batch: int = 16) -> None:
        super().__init__(rasterise, best_device(), batch=batch)


def rasterise(vertices: Tensor, faces: Tensor, size: tuple[int, int]) -> FragmentBatch:
    """Find the nearest triangle at each pixel's centre, in every frame.

    Args:
        vertices: Floats (T, V, 3) in the image frame, z above -10.
        faces: int64 (F, 3), of all frames.
        size: (height, width) in pixels.
    """
    height, width = size
    shorter = min(size)
    seen = vertices.float()
    turn = seen.new_tensor([-width / shorter, -height / shorter, 1])
    meshes = Meshes(
        verts=seen * turn + seen.new_tensor([0, 0, FAR]),
        faces=faces.expand(len(vertices), -1, -1),
    )
    # Packed: the faces of all frames are counted on, one frame after the other.
    packed, depth, barycentrics, _ = rasterize_meshes(
        meshes,
        image_size=size,
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=False,
    )
    first = len(faces) * torch.arange(len(vertices), device=vertices.device)
    hit = packed[..., 0] >= 0
    return FragmentBatch(
        torch.where(hit, packed[..., 0] - first[:, None, None], NOTHING).int(),
        torch.where(hit[..., None], barycentrics[..., 0, :], 0.0),
        torch.where(hit, depth[..., 0] - FAR, torch.inf),
    )
