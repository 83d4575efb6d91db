"""Noise levels, preconditioning and losses of training (EDM: Karras et al. 2022, Table 1).

As Stable Video Diffusion has them: data of variance 1, and a network that predicts "v". Every
noise level is drawn for each sample by itself, and everything here works on batches of any size.
All of it computes in float32.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.recipe.tables import DiffusionTable


def log_normal(normals: Tensor, mean: float, std: float) -> Tensor:
    """Noise levels whose logarithm is normally distributed.

    Args:
        normals: Standard normal numbers, one a sample; see `normal_of_uniform`.
        mean: Of the logarithm.
        std: Of the logarithm.
    """
    return torch.exp(mean + std * normals.double()).float()


def normal_of_uniform(uniforms: Tensor) -> Tensor:
    """Standard normal numbers of uniform ones in (0, 1), by the inverse of the distribution."""
    return torch.special.ndtri(uniforms.double())


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """One value a sample (B,), in a shape that multiplies ``like`` (B, ...)."""
    return values.float().view(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class Preconditioning:
    """How the network is used at a noise level; one number a sample.

    Attributes:
        c_in: Factor of the noisy latents that the network gets.
        c_skip: Factor of the noisy latents in the denoised ones.
        c_out: Factor of the network's output in them.
        c_noise: What the network is told of the noise level: its timestep.
        weight: Of the squared error, so that the network's is weighted alike at every level.
    """

    c_in: Tensor
    c_skip: Tensor
    c_out: Tensor
    c_noise: Tensor
    weight: Tensor


def preconditioning(sigma: Tensor) -> Preconditioning:
    """The coefficients of noise levels (B,), for data of variance 1."""
    sigma = sigma.double()  # (1 + s^2) / s^2 and 1 / (1 + s^2) lose nothing over 0.002 to 700
    square = sigma * sigma
    return Preconditioning(
        c_in=torch.rsqrt(square + 1).float(),
        c_skip=(1 / (square + 1)).float(),
        c_out=(-sigma * torch.rsqrt(square + 1)).float(),
        c_noise=(0.25 * sigma.log()).float(),
        weight=((1 + square) / square).float(),
    )


def noised(latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Latents (B, ...) with standard normal noise of each sample's level (B,) added."""
    return latents.float() + noise.float() * per_sample(sigma, latents)


def network_input(noisy: Tensor, sigma: Tensor) -> Tensor:
    """What the network gets of noisy latents (B, ...): scaled to variance 1."""
    return noisy.float() * per_sample(preconditioning(sigma).c_in, noisy)


def denoised(prediction: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
    """What the network takes the latents to be.

    Args:
        prediction: Its output (B, ...).
        noisy: The latents with their noise (B, ...), not scaled.
        sigma: The noise levels (B,).
    """
    terms = preconditioning(sigma)
    skip, out = per_sample(terms.c_skip, noisy), per_sample(terms.c_out, noisy)
    return skip * noisy.float() + out * prediction.float()


@dataclass(frozen=True)
class Losses:
    """The loss of every sample (B,), in its two terms.

    Attributes:
        full: Weighted squared error, averaged over the whole latents.
        portrait: The same, averaged over what the portrait's mask shows; 0 where it shows nothing.
    """

    full: Tensor
    portrait: Tensor

    def total(self, mask_weight: float = 1.0) -> Tensor:
        """Both, the second by its weight (B,)."""
        return self.full + mask_weight * self.portrait


def losses(found: Tensor, latents: Tensor, mask: Tensor, sigma: Tensor) -> Losses:
    """How far denoised latents are from the true ones (LCVD's equation 5).

    Args:
        found: Denoised latents (B, F, C, h, w); see `denoised`.
        latents: The true ones (B, F, C, h, w).
        mask: 1 where the portrait is, else 0 (B, F, 1, h, w).
        sigma: The noise levels (B,).
    """
    weight = per_sample(preconditioning(sigma).weight, latents)
    error = weight * (found.float() - latents.float()).square()
    shown = mask.float()
    elements = latents.shape[2] * shown.sum((1, 2, 3, 4))
    return Losses(
        full=error.mean((1, 2, 3, 4)),
        portrait=(error * shown).sum((1, 2, 3, 4)) / (elements + 1e-8),
    )


def time_ids(ground_sigma: Tensor, table: DiffusionTable) -> Tensor:
    """What the UNet is told beside the timestep (B, 3): frame rate, motion, noise of the ground.

    Args:
        ground_sigma: Level of the noise on each sample's reference (B,).
        table: The other two, which are constants.
    """
    fixed = torch.tensor([table.fps_id, table.motion_id], device=ground_sigma.device)
    return torch.cat([fixed.expand(len(ground_sigma), 2), ground_sigma[:, None]], dim=1).float()
