"""The latent cache of a release, for a recipe: how much of it is there, and the rest of it."""

from catalog.lake import Lake
from catalog.release import Release
from infra.errors import UsageError
from infra.weights import identity, prepare
from training.model.weights import VAE
from training.recipe import Recipe
from training.recipe.tables import ModelTable
from training.samples.cache import (
    CacheStanding,
    LatentCache,
    Progress,
    build_cache,
    cache_standing,
)


def require_cacheable(recipe: Recipe) -> None:
    """Refuse a recipe whose samples change after they would have been encoded.

    Raises:
        UsageError: It cuts out other squares, colours them, or lights them anew.
    """
    if not recipe.data.augment.keeps_pictures:
        changes = {key: getattr(recipe.data.augment, key) for key in ("zoom", "colour", "light")}
        drawn = {key: value for key, value in changes.items() if value}
        told = " and ".join(f"{key} = {value:g}" for key, value in drawn.items())
        sets = " ".join(f"--set data.augment.{key}=0" for key in drawn)
        raise UsageError(
            f"the recipe {recipe.name} draws {told} anew for every sample, so that its pictures"
            " cannot be encoded beforehand",
            hint=f"limelight train RELEASE --recipe {recipe.name} --cache {sets}",
        )


def cache_of(lake: Lake, recipe: Recipe) -> LatentCache:
    """Where the recipe's latents are kept."""
    return LatentCache(lake, _codec_digest(recipe.model), recipe.data.size)


def standing(lake: Lake, release: Release, recipe: Recipe) -> CacheStanding:
    """How much of what the recipe trains on is there."""
    mirrored = recipe.data.augment.flip > 0
    return cache_standing(cache_of(lake, recipe), release, mirrored=mirrored)


def fill(lake: Lake, release: Release, recipe: Recipe, progress: Progress) -> CacheStanding:
    """Encode what is missing, on a GPU where there is one.

    Args:
        lake: Keeps the latents.
        release: Whose clips.
        recipe: Says which codec, how large, and whether mirrored too.
        progress: Told the entries; whatever it raises ends the work, and what is done is kept.

    Raises:
        UsageError: The recipe changes its pictures after they would have been encoded.
        WeightsError: The codec's weights are missing.
        LakeError: A video is damaged; the lake is full or read-only.
    """
    require_cacheable(recipe)
    if recipe.model.latents == "vae":
        prepare([VAE])
    import torch

    from training.model.latents import load_codec

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    codec = load_codec(recipe.model, device, torch.float32)
    try:
        return build_cache(
            cache_of(lake, recipe),
            release,
            codec,
            mirrored=recipe.data.augment.flip > 0,
            device=device,
            progress=progress,
        )
    finally:
        del codec
        torch.cuda.empty_cache()  # the ranks want it next


def _codec_digest(model: ModelTable) -> str:
    if model.latents == "vae":
        return identity(VAE)
    import torch

    from training.model.latents import load_codec

    return load_codec(model, torch.device("cpu"), torch.float32).digest
