"""Validation: the loss on people who are not trained on, by the averaged weights.

Frames, noise and noise levels follow from the release and the recipe alone, so that the numbers of
two steps, or of two runs of one recipe, can be compared. A damaged sample breaks that: another is
taken in its place. The log tells it when a run starts, by a line of kind ``lost`` with the split;
what lies before such a line and what lies after it are not to be compared.
"""

import logging
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist

from catalog.release import Release
from infra.errors import UsageError
from training.diffusion.edm import Losses
from training.engine.distributed import World
from training.engine.engine import TrainingEngine
from training.loop.draws import noise_levels, validation_draws
from training.loop.objective import Objective
from training.recipe import Recipe
from training.samples.read import SampleReader
from training.samples.sample import TrainingSample, collate

LEVELS = 6
"""Noise levels at which every sample is judged."""

HELD_OUT = ("val", "test")
"""Splits to validate on: the first that has clips."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validation:
    """How well the held-out samples are denoised.

    Attributes:
        loss: What training minimises, averaged over samples and noise levels.
        full: Its term of the whole pictures.
        portrait: Its term of the portraits.
        levels: The noise levels.
        portraits: The portraits' term at each of these.
        seconds: That it took.
    """

    loss: float
    full: float
    portrait: float
    levels: tuple[float, ...]
    portraits: tuple[float, ...]
    seconds: float


class Validator:
    """Judges the network on some held-out samples, kept in memory.

    Args:
        recipe: How many samples, and how they are made.
        release: Has them; where all of its clips are in `train`, these are taken, and marked.
        objective: The loss.
        world: This rank's place.

    Attributes:
        split: Where the samples are from.
        samples: All of them, on every rank, unchanged by augmentation.
        lost: (key, reason) of the samples that turned out damaged, and were replaced.
    """

    def __init__(
        self, recipe: Recipe, release: Release, objective: Objective, world: World
    ) -> None:
        self._recipe = recipe
        self._objective = objective
        self._world = world
        self.split, reader = held_out(release, recipe)
        self.samples: list[TrainingSample] = [
            reader[position] for position in range(recipe.run.validate_clips)
        ]
        self.lost = [lost for sample in self.samples for lost in sample.lost]

    @property
    def held_out(self) -> bool:
        """Whether the samples are of people who are not trained on."""
        return self.split in HELD_OUT

    @torch.no_grad()
    def run(self, engine: TrainingEngine) -> Validation:
        """Judge the averaged weights. Every rank calls it, and gets the same.

        All ranks make as many passes of the network, since with ZeRO 3 each is collective: who
        has none left repeats one that does not count.

        Args:
            engine: Between two steps.
        """
        began = time.perf_counter()
        levels = noise_levels(self._recipe.diffusion, LEVELS)
        trials = [(s, level) for s in range(len(self.samples)) for level in range(LEVELS)]
        size = engine.fit.micro_batch
        rounds = -(-len(trials) // (size * self._world.size))
        sums = torch.zeros(LEVELS, 2, dtype=torch.float64, device=self._world.device)
        engine.module.eval()
        with engine.averaged():
            for turn in range(rounds):
                first = (turn * self._world.size + self._world.rank) * size
                mine = trials[first : first + size]
                losses = self._losses(engine, mine or trials[:1], levels)
                for row, (_, level) in enumerate(mine):
                    sums[level, 0] += losses.full[row]
                    sums[level, 1] += losses.portrait[row]
        engine.module.train()
        dist.all_reduce(sums)
        table = (sums / len(self.samples)).cpu()
        full, portrait = table.mean(0).tolist()
        return Validation(
            loss=full + self._recipe.diffusion.mask_weight * portrait,
            full=full,
            portrait=portrait,
            levels=tuple(levels),
            portraits=tuple(table[:, 1].tolist()),
            seconds=time.perf_counter() - began,
        )

    def _losses(
        self, engine: TrainingEngine, trials: list[tuple[int, int]], levels: list[float]
    ) -> Losses:
        batch = collate([self.samples[place] for place, _ in trials], self._world.device)
        draws = validation_draws(self._recipe, trials, levels, self._objective.shapes)
        return self._objective.losses(engine.module, batch, draws)


def held_out(release: Release, recipe: Recipe) -> tuple[str, SampleReader]:
    """The split to validate on, and its samples.

    Raises:
        UsageError: No split has a clip that is long enough.
    """
    for split in HELD_OUT:
        try:
            return split, SampleReader(release, recipe, split=split, augment=False)
        except UsageError as error:
            _LOG.info("no validation on split %s: %s", split, error.message)
    _LOG.warning(
        "%s has no held-out clips: validation is on clips that are trained on", release.path
    )
    return "train", SampleReader(release, recipe, split="train", augment=False)
