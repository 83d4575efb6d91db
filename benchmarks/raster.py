"""Our rasterisers beside a plain NumPy loop over triangles: 9,976 faces, as FLAME's, at 512x512.

    python benchmarks/raster.py [--rounds 5]

Prints one JSON line, and keeps it in benchmarks/results/raster.json:

- ``ours_ms``, ``numpy_ms``: milliseconds a picture on one thread, the best of the rounds;
- ``ratio``: ``numpy_ms / ours_ms``;
- ``agreement``: share of the pixels in which both see the same face;
- ``gpu``: where there is one, its name; else null, and the rest is left out:
- ``cuda_frames_per_second``: pictures rasterised in batches of 32, vertices already there;
- ``cuda_shaded_frames_per_second``: whole shading pictures, from arrays here to bytes here;
- ``cuda_ratio``: of the first to the processor's;
- ``cuda_agreement``: share of the pixels in which both see the same face.
"""

import argparse
from importlib.util import find_spec
from typing import Any

import numpy as np
from parts.results import keep
from parts.timing import best_seconds

from stages.models.raster.renderer import PosedMesh, load_renderer
from stages.models.rasteriser import NOTHING, Fragments, rasterise
from stages.models.shading import camera_frame
from stages.models.spherical_harmonics import COEFFICIENTS

SIZE = (512, 512)
BATCH = 32


def sphere(rows: int = 58, columns: int = 86) -> tuple[np.ndarray, np.ndarray]:
    """A bumpy ball that fills most of the picture: vertices in pixels, faces."""
    polar, around = np.meshgrid(
        np.linspace(0.01, np.pi - 0.01, rows + 1),
        np.linspace(0, 2 * np.pi, columns, endpoint=False),
        indexing="ij",
    )
    radius = 200 + 12 * np.sin(5 * polar) * np.cos(7 * around)
    x, y, z = np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)
    vertices = radius[..., None] * np.stack([x, y, z], axis=-1) + (256.3, 255.7, 0)
    index = np.arange((rows + 1) * columns).reshape(rows + 1, columns)
    a, b = index[:-1], index[1:]
    c, d = np.roll(b, -1, axis=1), np.roll(a, -1, axis=1)
    faces = np.concatenate([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)])
    return vertices.reshape(-1, 3), faces.reshape(-1, 3)


def numpy_rasterise(vertices: np.ndarray, faces: np.ndarray, size: tuple[int, int]) -> Fragments:
    """The same rule, one triangle after the other, each on the pixels of its box at once."""
    face = np.full(size, NOTHING, np.int32)
    barycentrics = np.zeros((*size, 3), np.float32)
    depth = np.full(size, np.inf, np.float32)
    for index, corners in enumerate(vertices[faces]):
        a, b, c = corners[:, :2]
        area = np.linalg.det(np.stack([b - a, c - a]))
        low = np.ceil(corners[:, :2].min(axis=0) - 0.5).clip(0).astype(int)
        high = np.floor(corners[:, :2].max(axis=0) - 0.5).astype(int) + 1
        box = np.s_[low[1] : min(high[1], size[0]), low[0] : min(high[0], size[1])]
        if area == 0 or face[box].size == 0:
            continue
        y, x = (centres + 0.5 for centres in np.ogrid[box])
        weights = np.stack(
            [
                (p[0] - x) * (q[1] - y) - (p[1] - y) * (q[0] - x)
                for p, q in ((b, c), (c, a), (a, b))
            ],
            axis=-1,
        )
        weights /= area
        z = weights @ corners[:, 2]
        won = (weights > 0).all(axis=-1) & (z < depth[box])
        face[box][won] = index
        barycentrics[box][won] = weights[won]
        depth[box][won] = z[won]
    return Fragments(face, barycentrics, depth)


def gpu_name() -> str | None:
    """Of the GPU that this process may use, if there is one and what it takes to draw on it."""
    if find_spec("triton") is None:
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def on_the_gpu(
    vertices: np.ndarray, faces: np.ndarray, ours: Fragments, ours_s: float, rounds: int
) -> dict[str, Any]:
    """What a GPU makes of a batch of the same picture."""
    import torch

    from stages.models.raster import cuda

    image = vertices / (SIZE[1] / 2, SIZE[0] / 2, SIZE[0] / 2) - (1, 1, 0)
    batch = torch.from_numpy(np.stack([image] * BATCH)).cuda()
    index = torch.from_numpy(faces).cuda()

    def drawn() -> "torch.Tensor":
        found = cuda.rasterise(batch, index, SIZE).face
        torch.cuda.synchronize()
        return found

    agreement = (drawn()[-1].cpu().numpy() == ours.face).mean()  # compiles
    (batch_s,) = best_seconds(4 * rounds, drawn)
    renderer = load_renderer("cuda")
    meshes = [PosedMesh(camera_frame(image), image, faces)] * (4 * BATCH)
    lights = [np.eye(COEFFICIENTS, 3)] * len(meshes)
    (shaded_s,) = best_seconds(rounds, lambda: list(renderer.pictures(meshes, lights, SIZE)))
    return {
        "cuda_frames_per_second": round(BATCH / batch_s),
        "cuda_shaded_frames_per_second": round(len(meshes) / shaded_s),
        "cuda_ratio": round(ours_s * BATCH / batch_s, 1),
        "cuda_agreement": float(agreement),
    }


def main() -> None:
    """Time both, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    vertices, faces = sphere()
    ours = rasterise(vertices, faces, SIZE)  # compiles
    plain = numpy_rasterise(vertices, faces, SIZE)
    (ours_s,) = best_seconds(4 * rounds, lambda: rasterise(vertices, faces, SIZE))
    (numpy_s,) = best_seconds(rounds, lambda: numpy_rasterise(vertices, faces, SIZE))
    result: dict[str, Any] = {
        "benchmark": "raster",
        "faces": len(faces),
        "ours_ms": round(1e3 * ours_s, 3),
        "numpy_ms": round(1e3 * numpy_s, 1),
        "ratio": round(numpy_s / ours_s, 1),
        "agreement": float((ours.face == plain.face).mean()),
        "gpu": gpu_name(),
    }
    if result["gpu"]:
        result |= on_the_gpu(vertices, faces, ours, ours_s, rounds)
    keep(result)


if __name__ == "__main__":
    main()
