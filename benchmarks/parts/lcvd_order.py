"""Sampling in the order of work of LCVD's pipeline, on our own network.

What it costs is in that order: every adapter sees every frame, the reference's adapter too,
although all its frames are one picture, and once more for the other branch; the features of both
branches lie there for the whole video, absent ones as zeros; and each window takes two passes of
one sample, one a branch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from training.diffusion.sigmas import euler_step, karras_sigmas, start_sigma, timestep
from training.diffusion.windows import window_list, window_weights
from training.model.lcvd import Lcvd


@dataclass(frozen=True)
class Video:
    """The conditions of a video, and its noise.

    Attributes:
        shading: (F, 3, S, S).
        reference: (3, S, S).
        ground: (C, h, w).
        token: (1, D).
        time_ids: (3,).
        noise: (F, C, h, w).
    """

    shading: Tensor
    reference: Tensor
    ground: Tensor
    token: Tensor
    time_ids: Tensor
    noise: Tensor


class LcvdOrder:
    """Samples latents (F, C, h, w) of a video.

    Args:
        lcvd: The network.
        video: What it is shown.
    """

    def __init__(self, lcvd: Lcvd, video: Video) -> None:
        self._lcvd = lcvd
        self._video = video

    @torch.no_grad()
    def __call__(self, steps: int, sigma_max: float, light: float) -> Tensor:
        """Sample in windows of 16 that share 6, guided by the light."""
        video, frames = self._video, len(self._video.noise)
        repeated = video.reference.expand(frames, -1, -1, -1)
        shading, reference = (
            self._adapt("shading", video.shading),
            self._adapt("reference", repeated),
        )
        nothing = torch.zeros_like(shading)
        lit = (nothing, shading, reference)
        unlit = (nothing.clone(), nothing.clone(), self._adapt("reference", repeated))
        ground = video.ground.expand(frames, -1, -1, -1)
        weights = window_weights(16)[:, None, None, None]

        latents = video.noise * start_sigma(sigma_max)
        for sigma, following in pairwise(karras_sigmas(steps, sigma_max=sigma_max)):
            scaled = torch.cat([latents / start_sigma(sigma), ground], dim=1)
            total, other = torch.zeros_like(latents), torch.zeros_like(latents)
            counts = torch.zeros(frames, 1, 1, 1)
            for window in map(list, window_list(frames)):
                given, level = scaled[None, window], timestep(sigma)
                total[window] += weights * self._predict(given, level, lit, window, video.token)
                bare = torch.zeros_like(video.token)
                other[window] += weights * self._predict(given, level, unlit, window, bare)
                counts[window] += weights
            total, other = total / counts, other / counts
            latents = euler_step(latents, other + light * (total - other), sigma, following)
        return latents

    def _adapt(self, stream: str, pictures: Tensor) -> Tensor:
        features: Tensor = self._lcvd.adapters[stream](pictures)
        return features

    def _predict(
        self,
        given: Tensor,
        level: float,
        features: Sequence[Tensor],
        window: list[int],
        token: Tensor,
    ) -> Tensor:
        landmarks, shading, reference = (each[None, window] for each in features)
        predicted: Tensor = self._lcvd(
            given,
            torch.tensor([level]),
            token[None],
            self._video.time_ids[None],
            landmarks + shading + reference,
        )
        return predicted[0]
