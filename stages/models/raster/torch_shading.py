"""`stages.models.shading` for a batch of frames on a torch device, number by number.

Each sum is written in the order of the compiled code, and each product is an operation of its
own, so that a GPU cannot fuse them: the two agree in every bit but for the order in which
`shade` adds its nine terms, in float64.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.models.shading import FACING_LIMIT, SHORTEST_NORMAL
from stages.models.spherical_harmonics import CONSTANTS, polynomials


@dataclass(frozen=True)
class FragmentBatch:
    """`stages.models.rasteriser.Fragments` of T frames, as tensors on one device.

    Attributes:
        face: int32 (T, H, W), `NOTHING` where there is none.
        barycentrics: float32 (T, H, W, 3), 0 where there is none.
        depth: float32 (T, H, W), +inf where there is none.
    """

    face: Tensor
    barycentrics: Tensor
    depth: Tensor


def incidence(faces: NDArray[np.integer], vertices: int) -> NDArray[np.int64]:
    """Which faces meet in each vertex, as a table: sums over it need no atomics, keep their order.

    Args:
        faces: (F, 3).
        vertices: Number of vertices V.

    Returns:
        int64 (N, V) for at most N faces around a vertex: their indices from first to last, then F.
    """
    corners = faces.ravel()
    order = np.argsort(corners, kind="stable")
    counts = np.bincount(corners, minlength=vertices)
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(corners)) - starts[corners[order]]
    table = np.full((counts.max(initial=0), vertices), len(faces))
    table[rank, corners[order]] = order // 3
    return table


def vertex_normals(vertices: Tensor, faces: Tensor, around: Tensor) -> Tensor:
    """Area-weighted normals of length 1, as `stages.models.shading.vertex_normals`.

    Args:
        vertices: (T, V, 3).
        faces: int64 (F, 3).
        around: The faces' `incidence`.

    Returns:
        float32 (T, V, 3).
    """
    a, b, c = vertices.double()[:, faces].unbind(dim=2)
    (ux, uy, uz), (vx, vy, vz) = (b - a).unbind(-1), (c - a).unbind(-1)
    crosses = torch.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx], dim=-1)
    # A face F of no area, for the ends of the table's columns.
    crosses = torch.nn.functional.pad(crosses, (0, 0, 0, 1))
    sums = torch.zeros_like(vertices, dtype=torch.float64)
    for face in around:
        sums += crosses[:, face]
    x, y, z = sums.unbind(-1)
    length = (x * x + y * y + z * z).sqrt().clamp(min=SHORTEST_NORMAL)
    return (sums / length[..., None]).float()


def interpolate(fragments: FragmentBatch, faces: Tensor, values: Tensor) -> Tensor:
    """Values of the vertices at every pixel, linear over each face.

    Args:
        fragments: What each pixel sees.
        faces: int64 (F, 3).
        values: float32 (T, V, N).

    Returns:
        float32 (T, H, W, N), 0 where there is no face.
    """
    frames, vertices, channels = values.shape
    first = vertices * torch.arange(frames, device=values.device)
    corners = faces[fragments.face.clamp(min=0)] + first[:, None, None, None]
    flat = values.reshape(-1, channels)
    wa, wb, wc = fragments.barycentrics[..., None].unbind(-2)
    a, b, c = corners.unbind(-1)
    return wa * flat[a] + wb * flat[b] + wc * flat[c]


def visible_normals(
    fragments: FragmentBatch, faces: Tensor, normals: Tensor, facing: Tensor
) -> tuple[Tensor, Tensor]:
    """What `stages.models.shading.visible_surface` finds, at every pixel.

    Args:
        fragments: What each pixel sees.
        faces: int64 (F, 3).
        normals: float32 (T, V, 3), camera frame.
        facing: float32 (T, V): z of the image-frame normals.

    Returns:
        Bool (T, H, W), where the surface is drawn; and float32 (T, H, W, 3), its normals.
    """
    values = interpolate(fragments, faces, torch.cat([normals, facing[..., None]], dim=-1))
    drawn = (fragments.face >= 0) & (values[..., 3] < FACING_LIMIT)
    return drawn, values[..., :3]


def shade(light: Tensor, normals: Tensor) -> Tensor:
    """Shading of normals under each frame's light, as `spherical_harmonics.shade`.

    Args:
        light: (T, 9, 3).
        normals: float32 (T, H, W, 3).

    Returns:
        float32 (T, H, W, 3): red, green, blue; unclamped.
    """
    weights = light.double() * torch.from_numpy(CONSTANTS).to(light.device)[:, None]
    terms = torch.stack(polynomials(*normals.double().unbind(-1)), dim=-1)
    return (terms.flatten(1, 2) @ weights).float().view(normals.shape)


def to_bytes(colours: Tensor) -> Tensor:
    """Clamp colours to 0..1 and round them to 0..255, as `stages.models.shading.to_bytes`."""
    return (colours.clamp(0, 1) * 255).round().to(torch.uint8)
