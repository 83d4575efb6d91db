"""Seconds for 100 frames of relighting, and what memory they take, however many there are.

    python benchmarks/relight.py [--recipe NAME] [--set key=value ...] [--steps 25] [--frames N]
                                 [--lengths N ...]

The model's part of the work, by `training.relight.generate`: sampling in windows under guidance,
then decoding. Tracking, fitting and drawing before it, compositing and encoding after it are
processor's work, and left out. On a GPU the recipe is `lcvd-paper` in bf16: the whole UNet of 1.5
billion parameters. Without one it is `lcvd-tiny` on one thread: that shows that the script works,
and nothing about a GPU; its films are shorter. All weights are random, those of the autoencoder and
of CLIP too, and the drawings noise in a box of a face's size: no number of theirs changes the work.

Prints one JSON line, and keeps it in benchmarks/results/relight.json, or that of `lcvd-tiny` on a
processor in relight_miniature.json:

- ``sample_s``, ``decode_s``, ``total_s``: seconds for 100 frames, of a film of ``frames``;
- ``branches``: sets of conditions in each pass of the network, by the recipe's guidance;
- ``peak_gb``: most memory held at once on the GPU (without one: of the process), for films of
  each length. One step is sampled there, since all steps take the same. A GPU also keeps what
  adapters found of up to 1 GiB of frames, 400 at 512 pixels: past these it does not grow.
"""

import argparse
from collections.abc import Sequence
from itertools import repeat
from tempfile import TemporaryFile
from time import perf_counter
from typing import cast
from unittest import mock

import numpy as np
import torch
from parts.memory import device_name, forget_peak, peak_gigabytes
from parts.random_nets import random_codec, random_tokens
from parts.results import keep

from stages.models.nets import best_device
from training.diffusion.branches import guidance
from training.model.folder import LoadedModel
from training.model.lcvd import Lcvd
from training.recipe import load_recipe
from training.relight import generate
from training.relight.conditions import DrawnConditions, Picture
from training.relight.generate import Generator, weights
from training.relight.models import precision
from training.relight.options import RelightOptions

FULL, MINIATURE = ("lcvd-paper", "engine.precision=bf16"), ("lcvd-tiny",)
FRAMES = {"cuda": 100, "cpu": 20}
LENGTHS = {"cuda": (100, 500, 1000), "cpu": (20, 100, 200)}
WARM_UP = RelightOptions(steps=1)


def random_model(name: str | None, overrides: Sequence[str], device: torch.device) -> LoadedModel:
    """A model by the recipe asked for, else by that of this machine; of random weights."""
    if name is None:
        name, *usual = FULL if device.type == "cuda" else MINIATURE
        overrides = [*usual, *overrides]
    recipe = load_recipe(name, ["model.start=random", *overrides])
    torch.manual_seed(0)
    with device:
        lcvd = Lcvd.build(recipe.model)
    lcvd.to(device, precision(recipe, device)).eval().requires_grad_(False)
    return LoadedModel(lcvd, recipe, {}, "random")


class Relighting:
    """Generates films of any length by one model."""

    def __init__(self, model: LoadedModel) -> None:
        size = model.recipe.data.size
        self._random = np.random.default_rng(0)
        matte = np.zeros((size, size), np.uint8)
        matte[size // 4 :, size // 4 : -size // 4] = 255
        self._generator = Generator(model, self._noise(size), matte, seed=0)
        self._drawing = np.zeros((size, size, 3), np.uint8)
        face = np.s_[size // 4 : -size // 4, size // 3 : -size // 3]
        self._drawing[face] = self._noise(size)[face]

    def film(self, frames: int, options: RelightOptions) -> tuple[float, float]:
        """Seconds to sample a film, and to decode it."""
        with DrawnConditions(self._generator.size, TemporaryFile) as conditions:
            conditions.draw(options.stream, repeat(self._drawing, frames + 1))
            began = perf_counter()
            latents = self._generator.latents(conditions, frames, options)
            sampled = perf_counter()
            decoded = sum(1 for _ in self._generator.pictures(latents))
            ended = perf_counter()
        assert decoded == frames
        return sampled - began, ended - sampled

    def _noise(self, size: int) -> Picture:
        return cast("Picture", self._random.integers(0, 256, (size, size, 3), np.uint8))


def peaks(relighting: Relighting, lengths: Sequence[int], device: torch.device) -> dict[str, float]:
    """The most memory that films of some lengths take."""
    found = {}
    for frames in lengths:
        forget_peak(device)
        relighting.film(frames, WARM_UP)
        found[str(frames)] = peak_gigabytes(device)
    return found


def main() -> None:
    """Make the films, and keep the result."""
    device = best_device()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--frames", type=int, default=FRAMES[device.type])
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS[device.type])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = random_model(asked.recipe, asked.overrides, device)
    recipe = model.recipe
    with mock.patch.multiple(
        generate, load_codec=random_codec, load_token_encoder=random_tokens
    ):  # the published ones need not be here
        relighting = Relighting(model)
        relighting.film(recipe.sampling.window, WARM_UP)
        options = RelightOptions(steps=asked.steps)
        sample_s, decode_s = relighting.film(asked.frames, options)
        peak_gb = peaks(relighting, asked.lengths, device)
    hundreds = asked.frames / 100
    miniature = device.type == "cpu" and recipe.name == MINIATURE[0]
    light, identity = weights(recipe, options)
    keep(
        {
            "benchmark": "relight_miniature" if miniature else "relight",
            "recipe": recipe.name,
            "miniature": miniature,
            "device": device_name(device),
            "torch": torch.__version__,
            "parameters": sum(each.numel() for each in model.lcvd.parameters()),
            "precision": str(model.lcvd.dtype).removeprefix("torch."),
            "size": recipe.data.size,
            "window": recipe.sampling.window,
            "overlap": recipe.sampling.overlap,
            "branches": len(guidance(recipe.conditions.scheme, light, identity, options.stream)),
            "steps": asked.steps,
            "frames": asked.frames,
            "sample_s": round(sample_s / hundreds, 2),
            "decode_s": round(decode_s / hundreds, 2),
            "total_s": round((sample_s + decode_s) / hundreds, 2),
            "peak_gb": peak_gb,
        }
    )


if __name__ == "__main__":
    main()
