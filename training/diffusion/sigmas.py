"""The noise levels of sampling, and the step from one to the next.

Equal to diffusers' ``EulerDiscreteScheduler`` under the configuration of SVD-XT: Karras levels,
"v" predictions, continuous timesteps. Pure functions, where the scheduler counts its own steps.
"""

from math import log, sqrt

import torch
from torch import Tensor

from training.diffusion import edm

RHO = 7.0
"""Exponent of the schedule (Karras et al. 2022, equation 5)."""


def karras_sigmas(
    steps: int, sigma_min: float = 0.002, sigma_max: float = 700.0
) -> tuple[float, ...]:
    """Noise levels from ``sigma_max`` down to ``sigma_min``, then 0: one more than steps.

    Raises:
        ValueError: No steps, or levels that do not fall.
    """
    if steps < 1:
        raise ValueError(f"steps = {steps}: at least 1 is needed")
    if not 0 < sigma_min < sigma_max:
        raise ValueError(
            f"sigma_min = {sigma_min:g}, sigma_max = {sigma_max:g}: 0 < sigma_min < sigma_max is"
            " needed"
        )
    high, low = sigma_max ** (1 / RHO), sigma_min ** (1 / RHO)
    shares = (step / max(steps - 1, 1) for step in range(steps))
    return (*((high + share * (low - high)) ** RHO for share in shares), 0.0)


def timestep(sigma: float) -> float:
    """What the network is told of a noise level."""
    return 0.25 * log(sigma)


def start_sigma(sigma_max: float) -> float:
    """Standard deviation of what sampling starts from: pure noise, in place of data and noise."""
    return sqrt(sigma_max**2 + 1)


def euler_step(noisy: Tensor, prediction: Tensor, sigma: float, to: float) -> Tensor:
    """Noisy latents, one step on: along the straight line to the denoised ones.

    Args:
        noisy: Latents of any shape, at noise level ``sigma``.
        prediction: The network's output for them, of the same shape.
        sigma: Their noise level.
        to: The noise level wanted; at 0 the latents are denoised.
    """
    level = torch.tensor([sigma], dtype=torch.float64, device=noisy.device)
    found = edm.denoised(prediction[None], noisy[None], level)[0]
    return found + (noisy - found) * (to / sigma)
