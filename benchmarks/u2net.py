"""U^2-Net as the stage runs it beside the reference's way, and beside the machine's ceiling.

    python benchmarks/u2net.py [--net u2net_human_seg] [--frames N] [--rounds 3]

Runs on the GPU if there is one (``CUDA_VISIBLE_DEVICES= python ...`` for the processor, one
thread), on frames of 512x512 under random weights: no number of theirs changes the work. The
reference's way, LCVD's too: torch, one frame at a time, prepared by itself, all seven maps, and
the matte fetched before the next frame is begun. Prints one JSON line, and keeps it in
benchmarks/results/u2net.json; the best of the rounds:

- ``reference_fps``: frames a second of the reference's way;
- ``onnx_fps``, ``torch_fps``: of ours, on either runtime; torch with float16 on a GPU;
- ``onnx_ratio``, ``torch_ratio``: ours / the reference's;
- ``gflop``: work of a frame, multiplications and additions counted apart;
- ``ceiling_gflops``: the most that torch reaches here in float32 (`parts.timing.ceiling_gflops`),
  and ``half_ceiling_gflops`` in float16;
- ``onnx_of_ceiling``, ``torch_of_ceiling``: the share of the ceiling, of its own format, that
  ours reaches.
"""

import argparse
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from parts.results import keep
from parts.timing import best_seconds, ceiling_gflops
from torch.utils.flop_counter import FlopCounterMode

from stages.models.nets import best_device
from stages.models.onnx_session import OnnxNet
from stages.models.u2net.export import export_onnx
from stages.models.u2net.model import Maps, U2NetMatting, onnx_maps, torch_maps
from stages.models.u2net.network import NETWORKS, SIZE, U2Net
from stages.models.u2net.pictures import MEAN, STD


def reference_mattes(net: U2Net, frames: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Mattes as the reference makes them, frame by frame."""
    device, mattes = next(net.parameters()).device, []
    for frame in frames:
        picture = (cv2.resize(frame, (SIZE, SIZE)) / 255 - MEAN) / STD
        shown = torch.from_numpy(picture.transpose(2, 0, 1)[None]).float().to(device)
        with torch.no_grad():
            fused, *_ = net(shown)
        mattes.append(((fused - fused.min()) / (fused.max() - fused.min()))[0, 0].cpu().numpy())
    return mattes


def our_mattes(maps: Maps, frames: Iterable[np.ndarray], batch: int) -> list[np.ndarray]:
    """Mattes as the stage asks for them."""
    small: Iterator[Any] = (
        cv2.resize(f, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for f in frames
    )
    return list(U2NetMatting(maps, batch=batch, radius=8).mattes(small))


def flop_of_a_frame(net: str) -> int:
    """Multiplications and additions of a network for one picture."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        NETWORKS[net]()(torch.empty(1, 3, SIZE, SIZE))
    return counter.get_total_flops()


def main() -> None:
    """Time all, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", choices=NETWORKS, default="u2net_human_seg")
    parser.add_argument("--frames", type=int, help="default: 4 on the processor, 96 on a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    device = best_device()
    gpu = device.type == "cuda"
    # As where nets are loaded: TF32 keeps 10 bits of the mantissa.
    torch.backends.cudnn.allow_tf32 = False
    count = options.frames or (96 if gpu else 4)
    frames = list(np.random.default_rng(0).integers(0, 256, (count, 512, 512, 3), np.uint8))
    net = NETWORKS[options.net]().eval()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        export_onnx(net, path)
        session = OnnxNet(path, (3, SIZE, SIZE))
    kind, batch = (torch.float16, 16) if gpu else (torch.float32, 1)
    ours = {"onnx": onnx_maps(session), "torch": torch_maps(deepcopy(net).to(device, kind))}
    net.to(device)
    taken = best_seconds(
        options.rounds,
        lambda: reference_mattes(net, frames),
        lambda: our_mattes(ours["onnx"], frames, batch),
        lambda: our_mattes(ours["torch"], frames, batch),
    )
    fps = {name: count / each for name, each in zip(("reference", *ours), taken, strict=True)}
    gflop = flop_of_a_frame(options.net) / 1e9
    peak = ceiling_gflops(device, torch.float32)
    half = ceiling_gflops(device, torch.float16) if gpu else None
    result = {
        "benchmark": "u2net",
        "net": options.net,
        "device": torch.cuda.get_device_name() if gpu else "cpu, 1 thread",
        "onnx_device": session.device,
        **{f"{name}_fps": round(each, 2) for name, each in fps.items()},
        "onnx_ratio": round(fps["onnx"] / fps["reference"], 2),
        "torch_ratio": round(fps["torch"] / fps["reference"], 2),
        "gflop": round(gflop, 1),
        "ceiling_gflops": round(peak, 1),
        **({"half_ceiling_gflops": round(half, 1)} if half else {}),
        "onnx_of_ceiling": round(fps["onnx"] * gflop / peak, 2),
        "torch_of_ceiling": round(fps["torch"] * gflop / (half or peak), 2),
    }
    keep(result)


if __name__ == "__main__":
    main()
