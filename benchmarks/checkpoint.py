"""What saving costs a training run: share of the step time lost to a checkpoint every 50 steps.

    python benchmarks/checkpoint.py [--width 128] [--rounds 3]

LCVD's network with two levels (20 M parameters at width 128; weights, moving average, both moments
of AdamW: 16 bytes each) trains through the DeepSpeed engine on the processor, 4 frames of 8x8
latents at a time. Blocks of 50 steps with a save at their start, and with all that is left of it
waited for at their end, take turns with blocks of 50 steps without one. Few steps of a run are as
short for as many bytes: the share of a real one is lower.

Prints one JSON line, and keeps it in benchmarks/results/checkpoint.json:

- ``step_s``: seconds of a step, of the fastest block without a save;
- ``share``: by which the fastest block with a save is longer (less than 0.03);
- ``copy_s``, ``wait_s``: seconds a save in which the training thread stood still;
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

EVERY = 50
FRAMES, SIDE = 4, 8
MOST = 0.03


def recipe_of(width: int) -> Recipe:
    """The recipe `lcvd-tiny` with a wider network, one sample a step."""
    recipe = load_recipe("lcvd-tiny")
    model = recipe.model.model_copy(update={"channels": (width, 2 * width), "heads": (2, 4)})
    run = recipe.run.model_copy(update={"batch": 1})
    engine = recipe.engine.model_copy(update={"micro_batch": 1})
    return recipe.model_copy(update={"model": model, "run": run, "engine": engine})


class Training:
    """Steps of a network on noise, of which some blocks begin with a save."""

    def __init__(self, recipe: Recipe, checkpoints: Path) -> None:
        torch.manual_seed(0)
        network = Lcvd.build(recipe.model)
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self.engine = TrainingEngine(network, recipe, join("cpu"))
        self.writer = CheckpointWriter(checkpoints)
        channels = latent_channels(recipe.model)
        self._latents = torch.randn(1, FRAMES, 2 * channels, SIDE, SIDE)
        self._token = torch.randn(1, 1, recipe.model.token_width)
        self._pictures = {
            stream: torch.rand(1, FRAMES, 3, 8 * SIDE, 8 * SIDE) for stream in recipe.model.adapters
        }

    def block(self, *, save: bool) -> float:
        """Seconds of 50 steps; with a save until all of it is written."""
        began = perf_counter()
        if save:
            state = RunState(position=self.engine.step)
            self.writer.save(self.engine.step, self.engine.fragments(), state)
        for _ in range(EVERY):
            self.engine.train_step([0], self._loss)
        self.writer.close()
        return perf_counter() - began

    def _loss(self, samples: Sequence[int]) -> Tensor:
        output: Tensor = self.engine(
            self._latents,
            torch.zeros(1),
            self._token,
            torch.tensor([[6.0, 127.0, 0.02]]),
            pictures=self._pictures,
        )
        return output.square().mean()


def main() -> int:
    """Measure, print one line, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
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
    share = saving / plain - 1
    keep(
        {
            "benchmark": "checkpoint",
            "parameters": training.parameters,
            "gigabytes": round(size / 1e9, 3),
            "every": EVERY,
            "step_s": round(plain / EVERY, 4),
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
