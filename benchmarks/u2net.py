"""U^2-Net as the stage runs it beside the reference's way, and beside the machine's ceiling.

    python benchmarks/u2net.py [--net u2net_human_seg] [--frames N] [--rounds 3]

Runs on the GPU if there is one (``CUDA_VISIBLE_DEVICES= python ...`` for the processor, one
thread), on frames of 512x512 under random weights: no number of theirs changes the work. The
reference's way, LCVD's too: torch, one frame at a time, prepared by itself, all seven maps, and
the matte fetched before the next frame is begun. Prints one JSON line; the best of the rounds:

- ``reference_fps``: frames a second of the reference's way;
- ``onnx_fps``, ``torch_fps``: of ours, on either runtime; torch with float16 on a GPU;
- ``onnx_ratio``, ``torch_ratio``: ours / the reference's;
- ``gflop``: work of a frame, multiplications and additions counted apart;
- ``ceiling_gflops``: the most that torch's plain matrix product or 3x3 convolution reaches here
  in float32, and ``half_ceiling_gflops`` in float16;
- ``onnx_of_ceiling``, ``torch_of_ceiling``: the share of the ceiling, of its own format, that
  ours reaches.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
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


def best_seconds(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of the fastest of ``rounds`` calls of each, in turns, after one that warms up."""
    best = dict.fromkeys(works, math.inf)
    for turn in range(rounds + 1):
        for name, work in works.items():
            began = perf_counter()
            work()
            if turn:
                best[name] = min(best[name], perf_counter() - began)
    return best


def ceiling(device: torch.device, kind: torch.dtype, rounds: int) -> float:
    """FLOP/s of the better of a large matrix product and a large 3x3 convolution."""
    side, channels = (8192, 256) if device.type == "cuda" else (1024, 64)
    matrix = torch.rand(side, side, device=device, dtype=kind)
    maps = torch.rand(1, channels, SIZE, SIZE, device=device, dtype=kind)
    maps = maps.contiguous(memory_format=torch.channels_last)
    kernel = torch.rand(channels, channels, 3, 3, device=device, dtype=kind)

    flop = {"product": 2 * side**3, "convolution": 18 * channels**2 * SIZE**2}
    with torch.inference_mode():
        seconds = best_seconds(
            {
                "product": lambda: (matrix @ matrix)[0, 0].item(),
                "convolution": lambda: F.conv2d(maps, kernel, padding=1)[0, 0, 0, 0].item(),
            },
            4 * rounds,
        )
    return max(flop[name] / each for name, each in seconds.items())


def flop_of_a_frame(net: str) -> int:
    """Multiplications and additions of a network for one picture."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        NETWORKS[net]()(torch.empty(1, 3, SIZE, SIZE))
    return counter.get_total_flops()


def main() -> None:
    """Time all, and print one JSON line."""
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
    # The ceilings' float32 is the nets': without TF32, which keeps 10 bits of the mantissa.
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
    seconds = best_seconds(
        {
            "reference": lambda: reference_mattes(net, frames),
            "onnx": lambda: our_mattes(ours["onnx"], frames, batch),
            "torch": lambda: our_mattes(ours["torch"], frames, batch),
        },
        options.rounds,
    )
    fps = {name: count / each for name, each in seconds.items()}
    flop = flop_of_a_frame(options.net)
    peak = ceiling(device, torch.float32, options.rounds)
    half = ceiling(device, torch.float16, options.rounds) if gpu else None
    result = {
        "benchmark": "u2net",
        "net": options.net,
        "device": torch.cuda.get_device_name() if gpu else "cpu, 1 thread",
        "onnx_device": session.device,
        **{f"{name}_fps": round(each, 2) for name, each in fps.items()},
        "onnx_ratio": round(fps["onnx"] / fps["reference"], 2),
        "torch_ratio": round(fps["torch"] / fps["reference"], 2),
        "gflop": round(flop / 1e9, 1),
        "ceiling_gflops": round(peak / 1e9, 1),
        **({"half_ceiling_gflops": round(half / 1e9, 1)} if half else {}),
        "onnx_of_ceiling": round(fps["onnx"] * flop / peak, 2),
        "torch_of_ceiling": round(fps["torch"] * flop / (half or peak), 2),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
