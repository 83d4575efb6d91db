"""Which weights of the registry a model is made of; imports no torch, so that a driver may ask."""

from training.recipe.tables import ModelTable, Stream

VAE = "sd_vae_ft_mse"
IMAGE_ENCODER = "svd_xt_image_encoder"
SVD_UNET = "svd_xt_unet"
LCVD_UNET = "lcvd_unet"

OFFICIAL: dict[Stream, str] = {
    "shading": "light_embedder",
    "reference": "ref_embedder",
    "landmarks": "head_embedder",
}
"""What LCVD's authors call the adapters, in the names of their files."""


def lcvd_adapter(stream: Stream) -> str:
    """The registry's name of the authors' adapter for a stream."""
    return f"lcvd_{OFFICIAL[stream]}"


def weights_of(table: ModelTable, *, start: bool) -> tuple[str, ...]:
    """The weights that a model table asks for, by their names in the registry.

    Args:
        table: Of the recipe.
        start: With those that training starts from; a finished model brings its own.
    """
    names: list[str] = []
    if table.latents == "vae":
        names.append(VAE)
    if table.token == "clip":
        names.append(IMAGE_ENCODER)
    if start and table.start == "svd-xt":
        names.append(SVD_UNET)
    if start and table.start == "lcvd":
        names += [LCVD_UNET, *(lcvd_adapter(stream) for stream in table.adapters)]
    return tuple(names)
