"""Steps of training: clips/s, MFU and peak memory, encoding pictures and with cached latents.

    python benchmarks/train_step.py [--recipe NAME] [--set key=value ...] [--steps 10]

On a GPU the recipe is `lcvd-paper` in bf16: the whole UNet of 1.5 billion parameters. Without one
it is `lcvd-tiny` on one thread: that shows that the script works, and nothing about a GPU. All
weights are random, those of the autoencoder and of CLIP too: no number of theirs changes the work.
Samples lie in memory, so that nothing waits for a disk (of that tells `train_loader.py`); all else
is as a run does it: DeepSpeed's engine, the objective, one optimizer step of the whole batch. With
the cache a sample brings the moments of its latents, and of its pictures only the reference is
encoded. Under torchrun the ranks share the batch.

Prints one JSON line, and keeps it in benchmarks/results/train_step.json, or that of `lcvd-tiny` on
a processor in train_step_miniature.json; for each way the median of the steps after two to warm up:

- ``pictures_step_s``, ``cache_step_s``: seconds of a step;
- ``pictures_clips_per_second``, ``cache_clips_per_second``: samples of the batch, by that;
- ``pictures_mfu``, ``cache_mfu``: share of ``peak_tflops`` that the forward and backward pass of
  UNet and adapters, ``clip_tflop`` a sample, make up (`training.engine.flops`): encoding and
  recomputation count as time, not as work;
- ``pictures_peak_gb``, ``cache_peak_gb``: most memory held at once on the GPU; without one of the
  process, which keeps what it has freed;
- ``cache_ratio``: ``pictures_step_s / cache_step_s``;
- ``micro_batch``, ``checkpointing``, ``events``: how it went through the network at last, and what
  was lowered to make it fit.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import torch
from parts.memory import device_name, forget_peak, peak_gigabytes
from parts.random_nets import random_codec, random_tokens
from parts.results import keep
from torch import Tensor

from training.engine.distributed import World, join, leave
from training.engine.engine import TrainingEngine
from training.loop.meters import StepMeter
from training.loop.objective import Objective, mean_loss
from training.loop.speed import Utilisation
from training.model.official import initial_model
from training.recipe import Recipe, load_recipe
from training.samples.sample import TrainingSample, collate

WARM_UP = 2
FULL, MINIATURE = ("lcvd-paper", "engine.precision=bf16"), ("lcvd-tiny",)


class Training:
    """A network in training on samples that lie in memory.

    Args:
        recipe: What is trained, and how.
        world: This rank's place.
    """

    def __init__(self, recipe: Recipe, world: World) -> None:
        network = initial_model(recipe.model, recipe.run.seed)
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self.recipe, self.world = recipe, world
        self.engine = TrainingEngine(network, recipe, world)
        codec = random_codec(recipe.model, world.device, self.engine.dtype)
        tokens = random_tokens(recipe.model, world.device, self.engine.dtype)
        self.objective = Objective(recipe, codec, tokens, world.device)
        self.events: list[str] = []

    def samples(self) -> list[TrainingSample]:
        """This rank's share of a batch: noise, with a portrait in the middle."""
        frames, _, *grid = self.objective.shapes.latents
        size, (height, width) = self.recipe.data.size, grid
        mask = torch.zeros(frames, height, width, dtype=torch.bool)
        mask[:, height // 4 : -height // 4, width // 4 : -width // 4] = True
        drawn = torch.Generator().manual_seed(self.world.rank)

        def film() -> Tensor:
            shape = (frames, size, size, 3)
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=drawn)

        posed = "landmarks" in self.recipe.model.adapters
        return [
            TrainingSample(0, "noise", film(), mask, film(), film() if posed else None)
            for _ in range(self.engine.share)
        ]

    def cached(self, sample: TrainingSample) -> TrainingSample:
        """The sample as it is with a latent cache, in whose number format."""
        video = collate([sample], self.world.device).video
        assert video is not None
        moments = torch.cat(self.objective.codec.moments(video[0]), dim=1)
        return replace(sample, video=sample.video[:1], moments=moments.half().cpu())

    def seconds(self, samples: Sequence[TrainingSample], steps: int) -> list[float]:
        """Seconds of each of some steps."""
        return [self._step(samples) for _ in range(steps)]

    def _step(self, samples: Sequence[TrainingSample]) -> float:
        """One step as `training.loop.trainer` takes it, from samples to figures."""
        meter, first = StepMeter(self.world), self.engine.step * self.recipe.run.batch
        first += self.world.rank * self.engine.share
        placed = [replace(each, position=first + i) for i, each in enumerate(samples)]

        loss = partial(mean_loss, self.objective, self.engine, note=meter.note)
        self.events += self.engine.train_step(placed, loss).events
        meter.sums(lost=0, leave=False, unsaved=False)  # waits for the GPU
        return meter.seconds


def recipe_of(name: str | None, overrides: Sequence[str]) -> Recipe:
    """The recipe asked for, else the one of this machine; from random weights."""
    if name is None:
        name, *usual = FULL if torch.cuda.is_available() else MINIATURE
        overrides = [*usual, *overrides]
    return load_recipe(name, ["model.start=random", *overrides])


def figures(training: Training, speed: Utilisation, steps: int) -> dict[str, Any]:
    """What both ways come to."""
    device, batch = training.world.device, training.recipe.run.batch
    pictures = training.samples()
    ways = {"pictures": pictures, "cache": [training.cached(sample) for sample in pictures]}
    found: dict[str, Any] = {}
    for way, samples in ways.items():
        forget_peak(device)
        training.seconds(samples, WARM_UP)
        step = median(training.seconds(samples, steps))
        found |= {
            f"{way}_step_s": round(step, 4),
            f"{way}_clips_per_second": round(batch / step, 3),
            f"{way}_mfu": round(speed.of(training.engine.share, step), 4),
            f"{way}_peak_gb": peak_gigabytes(device),
        }
    ratio = found["pictures_step_s"] / found["cache_step_s"]
    return {**found, "cache_ratio": round(ratio, 3)}


def main() -> None:
    """Take the steps, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    recipe = recipe_of(options.recipe, options.overrides)
    torch.set_num_threads(1)
    world = join()
    training = Training(recipe, world)
    speed = Utilisation(recipe, training.objective.shapes, world)
    found = figures(training, speed, options.steps)
    fit = training.engine.fit
    miniature = world.device.type == "cpu" and recipe.name == MINIATURE[0]
    result = {
        "benchmark": "train_step_miniature" if miniature else "train_step",
        "recipe": recipe.name,
        "miniature": miniature,
        "device": device_name(world.device),
        "ranks": world.size,
        "torch": torch.__version__,
        "parameters": training.parameters,
        "size": recipe.data.size,
        "frames": recipe.data.frames,
        "precision": recipe.engine.precision,
        "optimizer": recipe.optimizer.name,
        "zero": training.engine.stage,
        "batch": recipe.run.batch,
        "micro_batch": fit.micro_batch,
        "checkpointing": fit.checkpointing,
        "events": training.events,
        "steps": options.steps,
        "clip_tflop": round(speed.sample / 1e12, 4),
        "peak_tflops": round(speed.peak / 1e12, 3),
        **found,
    }
    leave()
    if world.first:
        keep(result)


if __name__ == "__main__":
    main()
