"""The z-buffer rasteriser on a GPU: a batch of frames at once, by the rule of the processor's.

Two kernels, in Triton (it comes with torch; it compiles them when they are first used, and for
that needs a C compiler and Python's headers on the GPU's machine). `draw_keys` makes a
*visibility buffer*: each triangle offers its depth and its index, packed into one integer, to the
pixels that it covers, and the least wins, atomically; so the nearest triangle is found whatever
the order of the threads, and of equally near ones the first. `resolve_keys` finds the winners'
weights.

The arithmetic is that of `stages.models.rasteriser`, in float64 and without fused multiplications,
to the last bit. Even a GPU that is slow at float64 has little of it to do: a mesh's triangles
cover a few pixels each, and what takes time is to fetch them.
"""

import os
import shutil

import torch
import triton
import triton.language as tl
from torch import Tensor

from infra.errors import UsageError
from stages.models.raster.torch_renderer import TorchRenderer
from stages.models.raster.torch_shading import FragmentBatch
from stages.models.rasteriser import NOTHING

EMPTY = (1 << 63) - 1
"""Key of a pixel that no triangle covers: farther than all."""


class CudaRenderer(TorchRenderer):
    """Draws on the GPU that this process may use.

    Args:
        batch: Frames at a time.

    Raises:
        UsageError: There is no GPU, or no C compiler.
    """

    def __init__(self, *, batch: int = 16) -> None:
        if not torch.cuda.is_available():
            raise UsageError(
                'renderer = "cuda" needs a CUDA GPU, and this process has none',
                hint='choose renderer = "numba", or give the stage a GPU: num_gpus in '
                "[engine.resources.<stage>]",
            )
        if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
            raise UsageError(
                'renderer = "cuda" needs a C compiler, by which Triton launches its kernels',
                hint="install gcc or clang with Python's headers, or name another one in CC",
            )
        super().__init__(rasterise, torch.device("cuda"), batch=batch)


def rasterise(
    vertices: Tensor,
    faces: Tensor,
    size: tuple[int, int],
    *,
    faces_each: int = 4,
    centres_each: int = 32,
    pixels_each: int = 256,
) -> FragmentBatch:
    """Find the nearest triangle at each pixel's centre, in every frame.

    Args:
        vertices: Floats (T, V, 3) in the image frame: x and y from -1 to 1 over the picture.
        faces: int64 (F, 3), of all frames.
        size: (height, width) in pixels.
        faces_each: Triangles that one program draws. This and the next two are powers of two,
            and a matter of speed alone: a warp has several triangles' loads under way at once.
        centres_each: Pixel centres that it tries at a time.
        pixels_each: Pixels whose weights one program finds.
    """
    frames, points = vertices.shape[:2]
    height, width = size
    corners = vertices.double()
    half = corners.new_tensor([width / 2, height / 2, 1])
    corners = corners * half + corners.new_tensor([width / 2, height / 2, 0])
    indices = faces.int().contiguous()
    keys = corners.new_full((frames, *size), EMPTY, dtype=torch.int64)
    fragments = FragmentBatch(
        corners.new_empty((frames, *size), dtype=torch.int32),
        corners.new_empty((frames, *size, 3), dtype=torch.float32),
        corners.new_empty((frames, *size), dtype=torch.float32),
    )
    draw_keys[triton.cdiv(len(faces), faces_each), frames](
        corners, indices, keys, points, len(faces), height, width,
        faces_each=faces_each, centres_each=centres_each,
        num_warps=1, enable_fp_fusion=False,
    )  # fmt: skip
    resolve_keys[triton.cdiv(height * width, pixels_each), frames](
        corners, indices, keys, fragments.face, fragments.barycentrics, fragments.depth,
        points, height * width, width,
        pixels_each=pixels_each, empty=EMPTY, nothing=NOTHING,
        enable_fp_fusion=False,
    )  # fmt: skip
    return fragments


@triton.jit
def _corner(
    vertices: tl.tensor, faces: tl.tensor, face: tl.tensor, real: tl.tensor, number: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """X, y and z of a corner of some faces, where there are such faces."""
    at = vertices + 3 * tl.load(faces + 3 * face + number, mask=real, other=0)
    x = tl.load(at, mask=real, other=0.0)
    y = tl.load(at + 1, mask=real, other=0.0)
    z = tl.load(at + 2, mask=real, other=0.0)
    return x, y, z


@triton.jit
def _area(
    px: tl.tensor, py: tl.tensor, qx: tl.tensor, qy: tl.tensor, x: tl.tensor, y: tl.tensor
) -> tl.tensor:
    """Twice the signed area of the triangle of p, q and (x, y)."""
    return (px - x) * (qy - y) - (py - y) * (qx - x)


@triton.jit
def draw_keys(
    vertices: tl.tensor,
    faces: tl.tensor,
    keys: tl.tensor,
    points: tl.tensor,
    count: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    faces_each: tl.constexpr,
    centres_each: tl.constexpr,
) -> None:
    """Draw some faces of one frame (axes of the grid: faces, frames) into the visibility buffer.

    A key orders as (depth, face) does: above, the bits of the float32 depth, made to order like
    a signed integer; below, the index of the face.

    Args:
        vertices: float64 (T, points, 3) in pixels.
        faces: int32 (count, 3).
        keys: int64 (T, height, width), the least so far.
        points: Vertices of a frame.
        count: Number of faces.
        height: Of the picture.
        width: Of the picture.
        faces_each: Faces drawn here.
        centres_each: Pixel centres tried at a time.
    """
    frame = tl.program_id(1).to(tl.int64)
    vertices += frame * points * 3
    keys += frame * height * width
    face = tl.program_id(0) * faces_each + tl.arange(0, faces_each)
    real = face < count
    ax, ay, az = _corner(vertices, faces, face, real, 0)
    bx, by, bz = _corner(vertices, faces, face, real, 1)
    cx, cy, cz = _corner(vertices, faces, face, real, 2)
    area = _area(bx, by, cx, cy, ax, ay)
    # Comparisons with NaN are false.
    drawn = (tl.abs(area) > 0.0) & (tl.abs(area) < float("inf"))
    drawn &= tl.abs(az + bz + cz) < float("inf")
    scale = 1.0 / tl.where(drawn, area, 1.0)

    # Rows and columns whose centres lie within the bounding box, clamped while still numbers.
    top = tl.maximum(tl.ceil(tl.minimum(tl.minimum(ay, by), cy) - 0.5), 0.0)
    bottom = tl.minimum(tl.floor(tl.maximum(tl.maximum(ay, by), cy) - 0.5), height - 1)
    left = tl.maximum(tl.ceil(tl.minimum(tl.minimum(ax, bx), cx) - 0.5), 0.0)
    right = tl.minimum(tl.floor(tl.maximum(tl.maximum(ax, bx), cx) - 0.5), width - 1)
    drawn &= (top <= bottom) & (left <= right)
    top = tl.where(drawn, top, 0.0).to(tl.int32)
    left = tl.where(drawn, left, 0.0).to(tl.int32)
    rows = tl.where(drawn, bottom, -1.0).to(tl.int32) - top + 1
    columns = tl.where(drawn, right, 0.0).to(tl.int32) - left + 1

    centres = rows * columns
    for start in range(0, tl.max(centres, axis=0), centres_each):
        number = start + tl.arange(0, centres_each)[None, :]
        row = top[:, None] + number // columns[:, None]
        column = left[:, None] + number % columns[:, None]
        x = column.to(tl.float64) + 0.5
        y = row.to(tl.float64) + 0.5
        wa = _area(bx[:, None], by[:, None], cx[:, None], cy[:, None], x, y) * scale[:, None]
        wb = _area(cx[:, None], cy[:, None], ax[:, None], ay[:, None], x, y) * scale[:, None]
        wc = _area(ax[:, None], ay[:, None], bx[:, None], by[:, None], x, y) * scale[:, None]
        z = (wa * az[:, None] + wb * bz[:, None] + wc * cz[:, None]).to(tl.float32)
        inside = (number < centres[:, None]) & (wa > 0.0) & (wb > 0.0) & (wc > 0.0)
        inside &= z < float("inf")
        # -0 and 0 are the same depth, but not the same bits.
        bits = tl.where(z == 0.0, 0.0, z).to(tl.int32, bitcast=True)
        order = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
        key = (order.to(tl.int64) << 32) | face[:, None].to(tl.int64)
        tl.atomic_min(keys + row * width + column, key, mask=inside, sem="relaxed")


@triton.jit
def resolve_keys(
    vertices: tl.tensor,
    faces: tl.tensor,
    keys: tl.tensor,
    out_face: tl.tensor,
    out_barycentrics: tl.tensor,
    out_depth: tl.tensor,
    points: tl.tensor,
    pixels: tl.tensor,
    width: tl.tensor,
    pixels_each: tl.constexpr,
    empty: tl.constexpr,
    nothing: tl.constexpr,
) -> None:
    """Tell what some pixels of one frame see (axes of the grid: pixels, frames) of its keys.

    Args:
        vertices: float64 (T, points, 3) in pixels.
        faces: int32 (F, 3).
        keys: int64 (T, pixels), as drawn.
        out_face: int32 (T, pixels).
        out_barycentrics: float32 (T, pixels, 3).
        out_depth: float32 (T, pixels).
        points: Vertices of a frame.
        pixels: Of a frame.
        width: Of the picture.
        pixels_each: Pixels told here.
        empty: Key where there is no face.
        nothing: Face there.
    """
    frame = tl.program_id(1).to(tl.int64)
    vertices += frame * points * 3
    pixel = tl.program_id(0) * pixels_each + tl.arange(0, pixels_each)
    within = pixel < pixels
    out = frame * pixels + pixel
    key = tl.load(keys + out, mask=within, other=empty)
    real = key != empty
    face = (key & 0x7FFFFFFF).to(tl.int32)
    ax, ay, az = _corner(vertices, faces, face, real, 0)
    bx, by, bz = _corner(vertices, faces, face, real, 1)
    cx, cy, cz = _corner(vertices, faces, face, real, 2)
    scale = 1.0 / tl.where(real, _area(bx, by, cx, cy, ax, ay), 1.0)
    x = (pixel % width).to(tl.float64) + 0.5
    y = (pixel // width).to(tl.float64) + 0.5
    wa = _area(bx, by, cx, cy, x, y) * scale
    wb = _area(cx, cy, ax, ay, x, y) * scale
    wc = _area(ax, ay, bx, by, x, y) * scale
    z = wa * az + wb * bz + wc * cz
    tl.store(out_face + out, tl.where(real, face, nothing), mask=within)
    tl.store(out_depth + out, tl.where(real, z, float("inf")).to(tl.float32), mask=within)
    weights = out_barycentrics + 3 * out
    tl.store(weights, tl.where(real, wa, 0.0).to(tl.float32), mask=within)
    tl.store(weights + 1, tl.where(real, wb, 0.0).to(tl.float32), mask=within)
    tl.store(weights + 2, tl.where(real, wc, 0.0).to(tl.float32), mask=within)
