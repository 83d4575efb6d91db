"""What saving costs a training run: share of the step time lost to a checkpoint every 50 steps.

    python benchmarks/checkpoint.py [--width 128] [--rounds 5] [--threads 2]

The recipe `lcvd-tiny` at 64 pixels, but with a network of 20 M parameters (width 128; weights,
moving average, both moments of AdamW: 16 bytes each), trains through the DeepSpeed engine on the
processor. Blocks of steps that begin with a save take turns with blocks without one. A block ends
when its checkpoint is whole, so that the steps which would follow it lose nothing.

Prints one JSON line, and keeps it in benchmarks/results/checkpoint.json:

- ``step_s``: seconds of a step, of the fastest block without a save;
- ``lost_s``: by which the fastest block with a save is longer;
- ``share``: that, of 50 steps (less than 0.03);
- ``copy_s``, ``wait_s``: seconds a save in which the training thread stood still, the second for
  what was not written within the block;
- ``write_s``: seconds a save of the thread that writes, beside the training;
- ``gigabytes``: of a checkpoint.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import torch
from parts.results import keep
from torch import Tensor

from training.checkpoint.records import RunState
from training.checkpoint.writer import CheckpointWriter
from training.engine.distributed import join, leave
from training.engine.engine import TrainingEngine
from training.model.latents import latent_channels
from training.model.lcvd import Lcvd
from training.recipe import load_recipe
from training.recipe.tables import Recipe

EVERY, BLOCK = 50, 6
SIDE = 8  # of the latents
MOST = 0.03


def recipe_of(width: int) -> Recipe:
    """The recipe `lcvd-tiny` with a wider network."""
    recipe = load_recipe("lcvd-tiny")
    model = recipe.model.model_copy(update={"channels": (width, 2 * width)})
    return recipe.model_copy(update={"model": model})


class Training:
    """Steps of a network on noise, of which some blocks begin with a save."""

    def __init__(self, recipe: Recipe, checkpoints: Path) -> None:
        torch.manual_seed(0)
        network = Lcvd.build(recipe.model)
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self.engine = TrainingEngine(network, recipe, join("cpu"))
        self.writer = CheckpointWriter(checkpoints)
        channels = latent_channels(recipe.model)
        batch, frames = recipe.engine.micro_batch, recipe.data.frames
        self._latents = torch.randn(batch, frames, 2 * channels, SIDE, SIDE)
        self._timestep = torch.zeros(batch)
        self._token = torch.randn(batch, 1, recipe.model.token_width)
        self._ids = torch.tensor([[6.0, 127.0, 0.02]]).repeat(batch, 1)
        self._pictures = {
            stream: torch.rand(batch, frames, 3, 8 * SIDE, 8 * SIDE)
            for stream in recipe.model.adapters
        }
        self._samples = range(recipe.run.batch)

    def block(self, *, save: bool) -> float:
        """Seconds of a few steps; with a save until all of it is written."""
        began = perf_counter()
        if save:
            state = RunState(position=self.engine.step)
            self.writer.save(self.engine.step, self.engine.fragments(), state)
        for _ in range(BLOCK):
            self.engine.train_step(self._samples, self._loss)
        self.writer.close()
        return perf_counter() - began

    def _loss(self, samples: Sequence[int]) -> Tensor:
        output: Tensor = self.engine(
            self._latents, self._timestep, self._token, self._ids, pictures=self._pictures
        )
        return output.square().mean()


def main() -> int:
    """Measure, print one line, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        checkpoints = Path(name) / "checkpoints"
        training = Training(recipe_of(arguments.width), checkpoints)
        training.block(save=True)  # takes the memory for the copies
        times = training.writer.times
        before = (times.copied, times.waited, times.written)
        blocks = [
            (training.block(save=False), training.block(save=True)) for _ in range(arguments.rounds)
        ]
        after = (times.copied, times.waited, times.written)
        size = sum(file.stat().st_size for file in next(checkpoints.iterdir()).iterdir())
    leave()
    plain, saving = (min(taken) for taken in zip(*blocks, strict=True))
    copied, waited, written = (
        (b - a) / arguments.rounds for a, b in zip(before, after, strict=True)
    )
    step = plain / BLOCK
    share = (saving - plain) / (EVERY * step)
    keep(
        {
            "benchmark": "checkpoint",
            "parameters": training.parameters,
            "gigabytes": round(size / 1e9, 3),
            "every": EVERY,
            "threads": arguments.threads,
            "step_s": round(step, 4),
            "lost_s": round(saving - plain, 4),
            "copy_s": round(copied, 4),
            "wait_s": round(waited, 4),
            "write_s": round(written, 3),
            "share": round(share, 4),
            "rounds": arguments.rounds,
            "load": round(os.getloadavg()[0], 1),
            "passed": share < MOST,
        }
    )
    return 0 if share < MOST else 1


if __name__ == "__main__":
    sys.exit(main())
