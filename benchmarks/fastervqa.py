"""FasterVQA beside the reference's way of running it, and the ceiling of the machine.

    python benchmarks/fastervqa.py [--device cpu] [--precision float32] [--batch 1] [--rounds 2]

Ours is what the quality stage runs: fragments cut frame by frame, attention by torch's fused
kernel a few windows at a time, gates and masks kept from call to call; one clip at a time, as a
build's worker rates them. Several at once (``--batch``) serve an evaluation, and more draws. The
reference takes one clip after the other, in float32: the chosen frames as one tensor, cut and
normalised; gates anew in every block; attention written out, all windows' logits in memory.
Both see the same fragments of clips in memory, on one thread of a processor or on the GPU;
weights are random, which costs the same. Prints one JSON line, and keeps it in
benchmarks/results/fastervqa.json:

- ``ours_clips_s``, ``reference_clips_s``: clips a second, cutting included, best of the rounds;
- ``ratio``: the one over the other;
- ``cut_share``: of our time, that goes into cutting;
- ``difference``: largest between the two ways' raw scores;
- ``gflop``: of the network, a clip (products of attention and layers, by torch's counter);
- ``gflops``: a second, in ours without cutting; ``ceiling_gflops``: the most that torch reaches
  here in the same precision (`parts.timing.ceiling_gflops`); ``share_of_ceiling``: the one over
  the other.
"""

import argparse
from collections.abc import Iterable, Iterator
from copy import deepcopy
from unittest.mock import patch

import numpy as np
import torch
from parts.results import keep
from parts.timing import best_seconds, ceiling_gflops
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stages.models.fastervqa import model as fastervqa
from stages.models.fastervqa.fragments import ALIGNED, SIDE, Plan, gather
from stages.models.fastervqa.network import FasterVQANet
from stages.models.fastervqa.swin import APART, Attention
from stages.models.fastervqa.variants import VARIANTS
from stages.models.fastervqa.windows import Windows, gates, strangers

BASE = VARIANTS["base"]
FRAMES, HEIGHT, WIDTH = 64, 512, 512
MEAN, DEVIATION = torch.tensor(fastervqa.MEAN), torch.tensor(fastervqa.DEVIATION)


class Reel:
    """A clip in memory, as a source gives it."""

    def __init__(self, seed: int) -> None:
        shape = (FRAMES, HEIGHT, WIDTH, 3)
        self.frames = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    def pick(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Some frames, one after the other."""
        return ((index, self.frames[index]) for index in sorted(indices))


class PlainAttention(Attention):
    """The same attention, written out."""

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """Attend: (B, windows, N, C) to the same."""
        batch, count, n, channels = x.shape
        qkv = self.qkv(x).reshape(batch, count, n, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        gate = gates.__wrapped__(windows, x.device)[:, None].float()
        relative = self._by_pair(self.relative_position_bias_table, windows)
        if self.gated:
            fragment = self._by_pair(self.fragment_position_bias_table, windows)
            logits = logits + (gate * relative + (1 - gate) * fragment)
        else:
            logits = logits + relative
        apart = strangers(windows, x.device)
        if apart is not None:
            logits = logits + APART * apart[:, None].float()
        mixed = logits.softmax(dim=-1) @ v
        return self.proj(mixed.transpose(2, 3).flatten(3))


def plain(net: FasterVQANet) -> FasterVQANet:
    """A copy of the network, in float32, whose attention is written out."""
    net = deepcopy(net).float()
    for module in net.modules():
        if isinstance(module, Attention):
            module.__class__ = PlainAttention
    return net


def reference_cut(reel: Reel, plan: Plan) -> Tensor:
    """Fragments of one clip out of a tensor of its frames: (1, 3, T, S, S), normalised."""
    film = torch.stack([torch.from_numpy(reel.frames[index]) for index in plan.frames])
    film = film.permute(3, 0, 1, 2)
    out = torch.zeros(3, len(plan.frames), SIDE * BASE.grid, SIDE * BASE.grid)
    rows, columns = plan.corners
    for i, j, group in np.ndindex(rows.shape):
        y, x = rows[i, j, group], columns[i, j, group]
        times = slice(ALIGNED * group, ALIGNED * (group + 1))
        down, right = slice(SIDE * i, SIDE * (i + 1)), slice(SIDE * j, SIDE * (j + 1))
        out[:, times, down, right] = film[:, times, y : y + SIDE, x : x + SIDE]
    out = (out.permute(1, 2, 3, 0) - MEAN) / DEVIATION
    return out.permute(3, 0, 1, 2)[None]


def count_flop() -> int:
    """Floating-point operations of the network's products, for one clip."""
    with torch.device("meta"):
        net, clip = FasterVQANet().eval(), torch.empty(1, 3, BASE.frames, 224, 224)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        net(clip)
    return int(counter.get_total_flops())


def main() -> None:
    """Time both ways, and keep the result."""
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default=default)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    state = FasterVQANet().state_dict()
    with (
        patch.object(fastervqa, "load_state", lambda name: state),
        patch.object(fastervqa, "BATCH", arguments.batch),
        patch("stages.models.nets.best_device", lambda: device),
        torch.inference_mode(),
    ):
        model = fastervqa.FasterVQA(precision=arguments.precision)
        net = plain(model._net)
        reels = [Reel(seed) for seed in range(arguments.batch)]
        plans = [Plan.make(BASE, FRAMES, (WIDTH, HEIGHT), clip=str(n)) for n in range(len(reels))]

        def cut() -> np.ndarray:
            cuts = [gather(reel, [plan]) for reel, plan in zip(reels, plans, strict=True)]
            return np.concatenate(cuts)

        def ours() -> np.ndarray:
            return model.rate(cut()).mean(axis=(1, 2, 3))

        def reference() -> np.ndarray:
            pairs = zip(reels, plans, strict=True)
            raws = [net(reference_cut(reel, plan).to(device)).mean().item() for reel, plan in pairs]
            return np.array(raws)

        difference = np.abs(ours() - reference()).max()
        cut_seconds, ours_seconds, reference_seconds = best_seconds(
            arguments.rounds, cut, ours, reference
        )
        gflop = count_flop() / 1e9
        ceiling = ceiling_gflops(device, getattr(torch, arguments.precision))
    gflops = gflop * len(reels) / (ours_seconds - cut_seconds)
    result = {
        "benchmark": "fastervqa",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu, one thread",
        "precision": arguments.precision,
        "batch": len(reels),
        "ours_clips_s": round(len(reels) / ours_seconds, 4),
        "reference_clips_s": round(len(reels) / reference_seconds, 4),
        "ratio": round(reference_seconds / ours_seconds, 2),
        "cut_share": round(cut_seconds / ours_seconds, 4),
        "difference": float(f"{difference:.2g}"),
        "gflop": round(gflop, 1),
        "gflops": round(gflops, 1),
        "ceiling_gflops": round(ceiling, 1),
        "share_of_ceiling": round(gflops / ceiling, 3),
    }
    keep(result)


if __name__ == "__main__":
    main()
