"""All that is random about a training sample, beside what was read of it.

A pure function of (run seed, position in the stream): it depends on no rank, worker, micro-batch or
resume, and no two samples of a batch share a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.diffusion import edm
from training.diffusion.branches import FULL, Branch
from training.diffusion.dropout import UNIFORMS, trained_branch
from training.recipe import Recipe
from training.recipe.tables import DiffusionTable

_TRAINING, _VALIDATION = 0x747261696E, 0x76616C6964
"""Tags that keep these numbers apart, and from others of the same seed and position."""


@dataclass(frozen=True)
class Draws:
    """Random numbers of samples, a leading axis B each.

    Attributes:
        branches: The conditions that each keeps.
        sigma: Noise levels (B,).
        noise: Standard normal numbers (B, F, C, h, w), the noise of the latents.
        latents: The same, which choose the latents out of their distribution.
        ground_sigma: Levels of the noise on the references (B,).
        ground: Standard normal numbers (B, 3, S, S), that noise.
    """

    branches: tuple[Branch, ...]
    sigma: Tensor
    noise: Tensor
    latents: Tensor
    ground_sigma: Tensor
    ground: Tensor

    def keep(self, condition: str) -> Tensor:
        """1 where a sample keeps a condition, by its name in `Branch`, else 0 (B,)."""
        return torch.tensor([float(getattr(branch, condition)) for branch in self.branches])


@dataclass(frozen=True)
class Shapes:
    """Of one sample.

    Attributes:
        latents: (F, C, h, w).
        size: Width and height of the pictures.
    """

    latents: tuple[int, int, int, int]
    size: int


def training_draws(recipe: Recipe, positions: Sequence[int], shapes: Shapes) -> Draws:
    """What samples are trained with.

    Args:
        recipe: Its noise levels, conditions and seed.
        positions: The samples' positions in the run's stream.
        shapes: Of a sample.
    """
    return _stack([_draw(recipe, position, shapes) for position in positions])


def noise_levels(table: DiffusionTable, number: int) -> list[float]:
    """Noise levels that stand for those of training: one out of the middle of each equal share."""
    shares = (torch.arange(number, dtype=torch.float64) + 0.5) / number
    normals = edm.normal_of_uniform(shares)
    return edm.log_normal(normals, table.sigma_mean, table.sigma_std).tolist()


def validation_draws(
    recipe: Recipe, trials: Sequence[tuple[int, int]], levels: Sequence[float], shapes: Shapes
) -> Draws:
    """What samples are validated with: all conditions, and noise levels that are given.

    Args:
        recipe: The seed, and the noise on the references, which is the median one.
        trials: For each sample its place among those that are validated, and that of its level.
        levels: The noise levels.
        shapes: Of a sample.
    """
    ground_sigma = torch.tensor(recipe.diffusion.ground_noise_mean).exp()
    drawn = []
    for place, level in trials:
        generator = _generator(recipe.run.seed, place, level, _VALIDATION)
        noise, latents, ground = _normals(generator, shapes)
        sigma = torch.tensor(levels[level])
        drawn.append(Draws((FULL,), sigma, noise, latents, ground_sigma, ground))
    return _stack(drawn)


def _draw(recipe: Recipe, position: int, shapes: Shapes) -> Draws:
    table = recipe.diffusion
    generator = _generator(recipe.run.seed, position, _TRAINING)
    uniforms = torch.rand(UNIFORMS, generator=generator, dtype=torch.float64).tolist()
    of_noise, of_ground = torch.randn(2, generator=generator, dtype=torch.float64)
    noise, latents, ground = _normals(generator, shapes)
    return Draws(
        branches=(trained_branch(uniforms, recipe.conditions),),
        sigma=edm.log_normal(of_noise, table.sigma_mean, table.sigma_std),
        noise=noise,
        latents=latents,
        ground_sigma=edm.log_normal(of_ground, table.ground_noise_mean, table.ground_noise_std),
        ground=ground,
    )


def _generator(*words: int) -> torch.Generator:
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def _normals(generator: torch.Generator, shapes: Shapes) -> tuple[Tensor, Tensor, Tensor]:
    noise = torch.randn(shapes.latents, generator=generator)
    latents = torch.randn(shapes.latents, generator=generator)
    return noise, latents, torch.randn(3, shapes.size, shapes.size, generator=generator)


def _stack(drawn: Sequence[Draws]) -> Draws:
    return Draws(
        branches=tuple(branch for draws in drawn for branch in draws.branches),
        sigma=torch.stack([draws.sigma for draws in drawn]),
        noise=torch.stack([draws.noise for draws in drawn]),
        latents=torch.stack([draws.latents for draws in drawn]),
        ground_sigma=torch.stack([draws.ground_sigma for draws in drawn]),
        ground=torch.stack([draws.ground for draws in drawn]),
    )
