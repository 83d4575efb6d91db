"""What the diffusion runs on in the place of pixels, and how it is got and undone."""

from typing import Protocol

import torch

from training.recipe.tables import ModelTable

FACTOR = 8
"""Pixels to one latent, along each side, in every codec."""

VAE_CHANNELS = 4


class LatentCodec(Protocol):
    """Pictures to latents and back.

    The diffusion's target is ``scale * (mean + std * noise)``; the ground, that it is
    conditioned on, is the unscaled mean.
    """

    channels: int
    """C, numbers a latent has."""

    factor: int
    """Pixels to one latent, along each side."""

    scale: float
    """Brings latents to about unit variance, which the diffusion takes for granted."""

    digest: str
    """Changes with whatever changes a latent: for the keys of a cache."""

    def moments(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation, float32 (N, C, h, w) each, unscaled.

        Args:
            pictures: (N, 3, H, W) in [-1, 1]; sides a multiple of ``factor``.
        """

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures, float32 (N, 3, H, W) in about [-1, 1], not clamped.

        Args:
            latents: (N, C, h, w), scaled.
        """


def latent_channels(table: ModelTable) -> int:
    """Numbers of one latent of the table's codec."""
    return VAE_CHANNELS if table.latents == "vae" else table.luma + 2 * table.chroma


def load_codec(table: ModelTable, device: torch.device, dtype: torch.dtype) -> LatentCodec:
    """The codec that a model table names.

    Args:
        table: Of the recipe.
        device: Where it shall run.
        dtype: Number format of its arithmetic, where it is a network on a GPU.

    Raises:
        WeightsError: Its weights are not here.
    """
    if table.latents == "blocks":
        from training.model.blocks import BlockCodec

        return BlockCodec(table.luma, table.chroma, device)
    from training.model.vae import load_vae

    return load_vae(device, dtype)


def check_pictures(pictures: torch.Tensor) -> None:
    """Make sure that pictures have a whole number of latents.

    Raises:
        ValueError: They have not.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3 or any(n % FACTOR for n in pictures.shape[2:]):
        raise ValueError(
            f"pictures of shape {tuple(pictures.shape)}; (N, 3, H, W) with sides that are"
            f" multiples of {FACTOR} are needed"
        )
