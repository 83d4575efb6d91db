"""Sampling a video of any length: noise to latents, window by window, step by step.

What belongs to the whole video stays on the processor, a few numbers a frame: its latents and the
fused predictions, once each. A network holds a window's worth at a time, so that memory on a GPU
does not grow with the video.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from training.diffusion.branches import Branch, Guidance
from training.diffusion.sigmas import euler_step, karras_sigmas, start_sigma, timestep
from training.diffusion.windows import held, window_list, window_weights


class Network(Protocol):
    """A network, and what it is to be shown of one video; see `training.diffusion.network`."""

    def __call__(
        self,
        latents: Tensor,
        timestep: float,
        frames: Sequence[Sequence[int]],
        branches: Sequence[Branch],
    ) -> Tensor:
        """Predictions for windows of the video, under each of the branches, in one pass.

        Args:
            latents: Noisy latents (W, T, C, h, w) on the processor, scaled to variance 1.
            timestep: What the network is told of the noise level.
            frames: Which slots of the video those of each window are, 0 being the reference.
            branches: The conditions to be seen; ``B`` sets of them.

        Returns:
            (B, W, T, C, h, w), on any device.
        """


_STEPPED = 64
"""Slots that make their step at once: what a step needs beside them is small then."""


class SamplingCancelledError(Exception):
    """Sampling was asked to end before it was done."""


def frame_noise(seed: int, frame: int, shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise of a frame: the same in whatever video it stands."""
    random = np.random.default_rng([seed, frame])
    return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))


@torch.no_grad()
def sample(
    network: Network,
    *,
    frames: int,
    shape: tuple[int, int, int],
    guidance: Guidance,
    steps: int = 25,
    sigma_min: float = 0.002,
    sigma_max: float = 700.0,
    window: int = 16,
    overlap: int = 6,
    seed: int = 0,
    noise: Tensor | None = None,
    windows_at_once: int = 1,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    watch: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Draw the latents of a video.

    Args:
        network: Predicts, given conditions.
        frames: Of the clip, 1 or more; the reference's slot comes on top.
        shape: Of a frame's latents (C, h, w).
        guidance: The branches whose predictions are summed, all of them in one pass.
        steps: Noise levels above 0.
        sigma_min: The last of them.
        sigma_max: The first of them.
        window: Slots that the network sees at once, the reference's among them.
        overlap: Slots that neighbouring windows share, the reference's among them.
        seed: Of the noise, which is drawn for each frame by itself.
        noise: Standard normal noise to begin with, in place of the seed's: (S, C, h, w), with
            a slot for the reference, each frame, and what a short video is held for: at least
            ``window``.
        windows_at_once: Windows in one pass of the network. The result does not depend on it.
        progress: Called with the number of passes done, and of all, after each.
        cancelled: Asked before each pass whether to end.
        watch: Called with the noisy latents after each step; the next step changes them.

    Returns:
        Scaled latents (1 + frames, C, h, w) on the processor, the reference's slot first.

    Raises:
        ValueError: A number that allows no video; each says which.
        SamplingCancelledError: ``cancelled`` said so.
    """
    slots = frames + 1
    windows = window_list(slots, window, overlap)
    groups = [windows[i : i + windows_at_once] for i in range(0, len(windows), windows_at_once)]
    sigmas = karras_sigmas(steps, sigma_min, sigma_max)
    if noise is None:
        latents = torch.empty(max(slots, window), *shape)
        for slot, own in enumerate(latents):
            own.copy_(frame_noise(seed, slot, shape))
        latents *= start_sigma(sigma_max)
    else:
        latents = noise.cpu().float() * start_sigma(sigma_max)
    fused = torch.empty_like(latents)
    weights, counts = window_weights(window)[:, None, None, None], torch.zeros(len(latents))
    for indices in windows:
        counts[list(indices)] += weights.flatten()
    branches = [branch for branch, _ in guidance]
    shares = torch.tensor([share for _, share in guidance])

    done = 0
    for sigma, following in pairwise(sigmas):
        fused.zero_()
        for group in groups:
            if cancelled is not None and cancelled():
                raise SamplingCancelledError(f"{done} of {steps * len(groups)} passes were done")
            places = torch.tensor(group)
            seen = [held(indices, slots) for indices in group]
            scaled = latents[places] / start_sigma(sigma)  # the same root: to variance 1
            predictions = network(scaled, timestep(sigma), seen, branches).float()
            guided = torch.tensordot(shares.to(predictions.device), predictions, dims=1).cpu()
            fused.index_put_((places,), weights * guided, accumulate=True)
            done += 1
            if progress is not None:
                progress(done, steps * len(groups))
        fused /= counts[:, None, None, None]
        for noisy, prediction in zip(latents.split(_STEPPED), fused.split(_STEPPED), strict=True):
            noisy.copy_(euler_step(noisy, prediction, sigma, following))
        if watch is not None:
            watch(latents[:slots])
    return latents[:slots]
