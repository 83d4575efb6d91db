"""Where a run begins or goes on: what all ranks must agree on before the first step."""

from shlex import quote
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from catalog.lake import Lake
from catalog.release import Release
from infra.errors import LakeError, UsageError
from training.checkpoint.folder import step_folder
from training.checkpoint.opening import open_latest
from training.checkpoint.stored import StoredCheckpoint
from training.engine.config import share_of
from training.engine.distributed import World
from training.engine.ladder import Circumstances, Fit, load_wish
from training.loop.folder import RunFolder
from training.loop.request import LATENTS, RunRequest, bound_digest
from training.model.latents import LatentCodec
from training.recipe import Recipe
from training.samples.cache import LatentCache, cache_standing

T = TypeVar("T")


def agreed(value: T, world: World) -> T:
    """What rank 0 says; every rank calls it. What the others say is not heard."""
    if world.size == 1:
        return value
    told: list[Any] = [value]
    dist.broadcast_object_list(told, src=0)
    found: T = told[0]
    return found


def everywhere(values: list[T], world: World) -> list[T]:
    """What all ranks say, one after another; every rank calls it."""
    told: list[Any] = [None] * world.size
    dist.all_gather_object(told, values)
    return [value for each in told for value in each]


def open_stored(folder: RunFolder, request: RunRequest, world: World) -> StoredCheckpoint | None:
    """The newest whole checkpoint, the same on all ranks; None where the run has none.

    Raises:
        LakeError: There are some, and all are damaged; or it is of another run.
    """
    stored = open_latest(folder.checkpoints) if world.first else None
    step = agreed(stored.step if stored else None, world)
    if step is None:
        return None
    stored = stored or StoredCheckpoint(step_folder(folder.checkpoints, step), verify=False)
    state = stored.manifest.state
    if (state.recipe, state.release) != (bound_digest(request.recipe), request.seal):
        raise LakeError(
            f"{stored.path} is of another recipe or release than {folder.request} asks for",
            hint="train under another name, or with the recipe and release that it began with",
        )
    return stored


def anywhere(flag: bool, world: World) -> bool:
    """Whether any rank says so; every rank calls it."""
    if world.size == 1:
        return flag
    told = torch.tensor(float(flag), device=world.device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return bool(told)


def fitting(recipe: Recipe, folder: RunFolder, world: World) -> tuple[Fit, str]:
    """Micro-batch and checkpointing to begin with, and why these if they are not the recipe's.

    What an earlier start found to fit counts where it was found on the same device, with as many
    ranks, and under the same table ``[engine]``. Every rank calls it, and gets the same.

    Raises:
        UsageError: The batch cannot be shared among the ranks.
    """
    table = recipe.engine
    asked = Fit(min(table.micro_batch, share_of(recipe, world.size)), table.checkpointing)
    known = agreed(load_wish(folder.fit) if world.first else None, world)
    if known is None:
        return asked, ""
    if known.under != Circumstances.of(table, world):
        return asked, f"begun with {asked}: what {folder.fit.name} tells was found under others"
    fit = Fit(
        min(asked.micro_batch, known.fit.micro_batch),
        asked.checkpointing or known.fit.checkpointing,
    )
    if fit == asked:
        return asked, ""
    return fit, f"begun with {fit}, as an earlier start found ({folder.fit.name}), not with {asked}"


def open_latents(
    folder: RunFolder,
    request: RunRequest,
    release: Release,
    codec: LatentCodec,
    world: World,
    stored: StoredCheckpoint | None,
) -> LatentCache | None:
    """The latent cache, if the run uses it.

    It does if all of its latents were there when it began, and the recipe asks for no pictures
    but those that it holds. A run keeps to that: cached latents are rounded, so that a change
    half way would be one of the results.

    Args:
        folder: The run's.
        request: The run's.
        release: What it trains on.
        codec: Its codec.
        world: This rank's place.
        stored: The checkpoint that it goes on from.

    Raises:
        UsageError: The run began with the cache, and it is not whole any more.
    """
    recipe = request.recipe
    cache = LatentCache(Lake(request.lake), codec.digest, recipe.data.size)
    whole = recipe.data.augment.keeps_pictures and agreed(
        world.first and _whole(cache, release, recipe), world
    )
    if stored is None:
        return cache if whole else None
    if not stored.scalars[LATENTS]:
        return None
    if not whole:
        raise UsageError(
            f"the run began with the latent cache, but {cache.folder} lacks latents of"
            f" {request.release}",
            hint=f"limelight cache {request.release} --recipe {quote(str(folder.recipe))}",
        )
    return cache


def _whole(cache: LatentCache, release: Release, recipe: Recipe) -> bool:
    standing = cache_standing(cache, release, mirrored=recipe.data.augment.flip > 0)
    return bool(standing.done) and not standing.missing
