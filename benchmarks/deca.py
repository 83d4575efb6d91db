"""DECA from frames to shading pictures, batched, beside the reference's way of one at a time.

    python benchmarks/deca.py [--frames 32] [--rounds 3]

The reference's way, as LCVD does it: each frame is warped by scikit-image, goes alone through
two encoders (the coarse one, and the detail one whose result is thrown away) and through FLAME.
Ours: a compiled crop, one encoder with its batch norms folded, in batches. Both draw with the
same renderer, 512x512, from the same random weights; landmarks are given to both.

Prints one JSON line, and keeps it in benchmarks/results/deca.json; without a GPU, all on one
thread of the processor, the best of the rounds:

- ``ours_fps``, ``reference_fps``: frames a second, from frames to pictures; ``ratio`` of them;
- ``agreement``: largest difference between the two codes of 236 numbers;
- ``crop_ms``, ``encoder_ms``, ``flame_ms``, ``render_ms``: what a frame costs, part by part;
- ``gflop``: of one encoder pass (a multiplication and an addition are two);
- ``ceiling_fps``: how many such passes the machine could do in a second
  (`parts.timing.ceiling_gflops`);
- ``of_ceiling``: ``ours_fps / ceiling_fps``;
- ``gpu``: where there is one, its name; else null, and the rest is left out:
- ``cuda_*``: the same there, for float32 and for float16 (``cuda_half_*``), drawn there too.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from parts.results import keep
from parts.timing import best_seconds, ceiling_gflops
from raster import sphere
from skimage.transform import estimate_transform, warp
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stages.models.deca.camera import project, to_picture
from stages.models.deca.coefficients import Coefficients
from stages.models.deca.crop import SIDE, crop_transforms, cut_crop, head_boxes
from stages.models.deca.encoder import ResnetEncoder
from stages.models.deca.flame import Flame
from stages.models.deca.keypoints import ibug_points
from stages.models.deca.model import Deca
from stages.models.face_geometry import FaceTrack
from stages.models.nets import Precision, one_thread
from stages.models.raster.renderer import PosedMesh, Renderer, load_renderer
from stages.models.shading import camera_frame

SIZE = 512
HIDDEN, DETAIL = 1024, 128  # numbers between the last two layers, and of a detail code
Weights = Mapping[str, Mapping[str, torch.Tensor]]


def random_weights() -> Weights:
    """An encoder at its random start, and a ball of as many triangles as FLAME's head."""
    torch.manual_seed(0)
    encoder = ResnetEncoder().state_dict()
    encoder["layers.2.bias"][206] = 8  # the camera's scale
    vertices, faces = sphere()
    ball = torch.from_numpy(camera_frame((vertices - vertices.mean(axis=0)) / 2000))
    count = len(ball)
    front = ball[torch.from_numpy(faces), 2].mean(dim=1).topk(len(faces) // 3).indices
    flame = {
        "f": torch.from_numpy(faces),
        "v_template": ball,
        "shapedirs": 1e-4 * torch.randn(count, 3, 400),
        "posedirs": 1e-4 * torch.randn(count, 3, 36),
        "J_regressor": torch.full((5, count), 1 / count),
        "kintree_table": torch.tensor([(-1, 0, 1, 1, 1), range(5)]),
        "weights": torch.full((count, 5), 0.2),
    }
    return {"deca": encoder, "flame": flame, "lcvd_face_region": {"face": front.sort().values}}


class Reference:
    """One frame at a time, by two encoders.

    Args:
        weights: Of the encoder and FLAME; the detail encoder's are random.
        faces: Triangles to draw.
        device: Where the networks run.
    """

    def __init__(self, weights: Weights, faces: np.ndarray, device: torch.device) -> None:
        self._coarse, self._detail = ResnetEncoder(), ResnetEncoder()
        self._coarse.load_state_dict(weights["deca"])
        self._detail.layers[2] = nn.Linear(HIDDEN, DETAIL)
        self._flame = Flame(weights["flame"])
        for net in (self._coarse, self._detail, self._flame):
            net.eval().requires_grad_(False).to(device)
        self._faces = faces
        self._device = device

    @torch.inference_mode()
    def code(self, frame: np.ndarray, points: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """Code vector (1, 236) and crop transform (3, 3) of a frame with 68 points."""
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        size = int((right - left + bottom - top) / np.float64(2) * 1.1 * 1.25)
        x, y = (left + right) / 2 - size / 2, (top + bottom) / 2 - size / 2
        corners = np.array([(x, y), (x, y + size), (x + size, y)])
        tform = estimate_transform("similarity", corners, [(0, 0), (0, SIDE - 1), (SIDE - 1, 0)])
        crop = warp(frame / 255.0, tform.inverse, output_shape=(SIDE, SIDE)).transpose(2, 0, 1)
        picture = torch.tensor(crop).float().to(self._device)[None]
        code = self._coarse(picture)
        self._detail(picture)
        return code, tform.params

    @torch.inference_mode()
    def mesh(self, code: torch.Tensor, tform: np.ndarray) -> tuple[PosedMesh, np.ndarray]:
        """The posed head, and the light."""
        face = Coefficients.from_code(code.cpu().numpy(), tform[None])
        numbers = (torch.from_numpy(n).to(self._device) for n in (face.shape, face.exp, face.pose))
        head = self._flame(*numbers)[0].cpu().numpy()
        image = to_picture(project(head, face.cam), face.tform, (SIZE, SIZE))
        return PosedMesh(head[0], image[0], self._faces), face.light[0]

    def pictures(self, frames: np.ndarray, points: np.ndarray, renderer: Renderer) -> None:
        """All frames, one after the other."""
        for frame, keypoints in zip(frames, points, strict=True):
            mesh, light = self.mesh(*self.code(frame, keypoints))
            list(renderer.pictures([mesh], [light], (SIZE, SIZE)))


def made_up_clip(frames: int) -> tuple[np.ndarray, FaceTrack]:
    """Frames of noise, and a face that walks over them."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (frames, SIZE, SIZE, 3), dtype=np.uint8)
    steps = np.linspace(-20, 20, frames)[:, None, None]
    points = 110 * rng.uniform(-1, 1, (478, 3)) + (256, 256, 0) + steps * (1, 0.5, 0)
    return pictures, FaceTrack(points.astype(np.float32), np.ones(frames, bool), 25.0, SIZE)


def compare(
    frames: int, rounds: int, device: torch.device, precision: Precision, prefix: str
) -> dict[str, Any]:
    """Both ways on a device; keys with a prefix."""
    weights = random_weights()
    pictures, track = made_up_clip(frames)
    # Without smoothing, so that both find the same.
    deca = Deca(
        region="lcvd",
        identity="frame",
        box_window=0,
        motion_window=0,
        light_window=0,
        batch=64 if device.type == "cuda" else 16,
        precision=precision,
        device=device,
        load=weights.__getitem__,
    )
    points = ibug_points(track.points)
    region = weights["lcvd_face_region"]["face"]
    faces = weights["flame"]["f"][region].numpy().astype(np.int32)
    reference = Reference(weights, faces, device)
    renderer = load_renderer("cuda" if device.type == "cuda" else "numba")

    def ours() -> None:
        geometry = deca.fit(pictures, track)
        for _ in renderer.pictures(deca.meshes(geometry), geometry.light, (SIZE, SIZE)):
            pass

    geometry = deca.fit(pictures, track)
    code = Coefficients.from_arrays(geometry.arrays()).code()
    codes = [reference.code(*each)[0].cpu() for each in zip(pictures, points, strict=True)]
    meshes = list(deca.meshes(geometry))
    tforms = crop_transforms(head_boxes(points), whole=True)
    crop = np.empty((SIDE, SIDE, 3), np.float32)
    ours_s, reference_s, fit_s, crop_s, flame_s, render_s = best_seconds(
        rounds,
        ours,
        lambda: reference.pictures(pictures, points, renderer),
        lambda: deca.fit(pictures, track),
        lambda: [cut_crop(*each, crop) for each in zip(pictures, tforms, strict=True)],
        lambda: list(deca.meshes(geometry)),
        lambda: list(renderer.pictures(meshes, geometry.light, (SIZE, SIZE))),
    )
    gflop = encoder_gflop()
    ceiling = ceiling_gflops(device, getattr(torch, precision)) / gflop
    result = {
        "ours_fps": round(frames / ours_s, 2),
        "reference_fps": round(frames / reference_s, 2),
        "ratio": round(reference_s / ours_s, 2),
        "agreement": float(f"{np.abs(code - torch.cat(codes).numpy()).max():.1e}"),
        "crop_ms": round(1e3 * crop_s / frames, 3),
        "encoder_ms": round(1e3 * (fit_s - crop_s) / frames, 3),
        "flame_ms": round(1e3 * flame_s / frames, 3),
        "render_ms": round(1e3 * render_s / frames, 3),
        "gflop": round(gflop, 2),
        "ceiling_fps": round(ceiling, 2),
        "of_ceiling": round(frames / ours_s / ceiling, 3),
    }
    return {prefix + name: value for name, value in result.items()}


def encoder_gflop() -> float:
    """Floating-point operations of one encoder pass, in units of 1e9."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.inference_mode():
        ResnetEncoder().eval()(torch.empty(1, 3, SIDE, SIDE))
    return counter.get_total_flops() / 1e9


def main() -> None:
    """Time both, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    result: dict[str, Any] = {"benchmark": "deca", "frames": options.frames}
    with one_thread():
        cpu = torch.device("cpu")
        result |= compare(options.frames, options.rounds, cpu, "float32", "")
        result["gpu"] = gpu
        if gpu:
            cuda = torch.device("cuda")
            many = 16 * options.frames
            result |= compare(many, options.rounds, cuda, "float32", "cuda_")
            result |= compare(many, options.rounds, cuda, "float16", "cuda_half_")
    keep(result)


if __name__ == "__main__":
    main()
