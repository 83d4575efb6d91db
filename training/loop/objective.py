"""The loss of training samples: from their pictures to how well the network removes noise.

Everything is drawn and scaled for each sample by itself, so that a batch of two is two batches of
one. The batch's target is its ``video``; shading and keypoint maps are conditions only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from training.diffusion import edm
from training.loop.draws import Draws, Shapes, training_draws
from training.model.latents import LatentCodec
from training.model.tokens import TokenEncoder
from training.recipe import Recipe, Stream
from training.samples.sample import TrainingBatch, TrainingSample, collate

Forward = Callable[..., Tensor]
"""A wrapped `training.model.lcvd.Lcvd`: all that is trained happens in one call of it."""


Note = Callable[[int, Tensor, Tensor], None]
"""Told the position of a sample, and its losses: of the whole picture, and of the portrait."""


@dataclass(frozen=True)
class Shown:
    """What the network is shown of samples' references, by the conditions that each keeps.

    Attributes:
        picture: (B, 3, S, S) in [-1, 1].
        ground: Latent of the picture around the portrait (B, C, h, w), not scaled.
        token: (B, 1, D).
        time_ids: (B, 3); see `edm.time_ids`.
    """

    picture: Tensor
    ground: Tensor
    token: Tensor
    time_ids: Tensor


class Objective:
    """EDM's loss under LCVD's conditions (Karras et al. 2022; LCVD's equation 5).

    Args:
        recipe: Noise levels, conditions, weight of the portrait's term, seed.
        codec: Pictures to latents; it is not trained.
        tokens: Pictures to tokens; it is not trained.
        device: Where all of it runs.

    Attributes:
        codec: The same.
        device: The same.
        shapes: Of a sample.
    """

    def __init__(
        self, recipe: Recipe, codec: LatentCodec, tokens: TokenEncoder, device: torch.device
    ) -> None:
        self.codec = codec
        self._recipe = recipe
        self._tokens = tokens
        self.device = device
        size, frames = recipe.data.size, recipe.data.frames
        grid = size // codec.factor
        self.shapes = Shapes((frames, codec.channels, grid, grid), size)

    def training_draws(self, positions: Sequence[int]) -> Draws:
        """What samples are trained with; see `training.loop.draws`."""
        return training_draws(self._recipe, positions, self.shapes)

    def losses(self, network: Forward, batch: TrainingBatch, draws: Draws) -> edm.Losses:
        """The losses of samples (B,) under given noise and conditions.

        Args:
            network: The network; gradients flow into it alone.
            batch: B samples.
            draws: Of these samples.
        """
        mask, sigma = self._here(batch.mask), self._here(draws.sigma)
        with torch.no_grad():
            latents = self._latents(batch, self._here(draws.latents))
            shown = self.shown(batch, draws)
            noisy = edm.noised(latents, self._here(draws.noise), sigma)
            given = edm.network_input(noisy, sigma)
        prediction = network(
            torch.cat([given, shown.ground[:, None].expand_as(given)], dim=2),
            edm.preconditioning(sigma).c_noise,
            shown.token,
            shown.time_ids,
            pictures=self._pictures(batch, shown.picture),
            keep={stream: self._kept(draws, stream) for stream in self._recipe.model.adapters},
        )
        return edm.losses(edm.denoised(prediction, noisy, sigma), latents, mask, sigma)

    def total(self, losses: edm.Losses) -> Tensor:
        """What is minimised: the mean over samples."""
        return losses.total(self._recipe.diffusion.mask_weight).mean()

    @torch.no_grad()
    def shown(self, batch: TrainingBatch, draws: Draws) -> Shown:
        """What samples show the network of their references.

        Args:
            batch: B samples.
            draws: Their noise on the reference, and which conditions they keep.
        """
        picture, level = self._here(batch.reference), self._here(draws.ground_sigma)
        mean, _ = self.codec.moments(edm.noised(picture, self._here(draws.ground), level))
        around = 1 - self._here(batch.mask[:, 0])
        return Shown(
            picture=picture,
            ground=mean * around * self._kept(draws, "ground").view(-1, 1, 1, 1),
            token=self._tokens(picture) * self._kept(draws, "token").view(-1, 1, 1),
            time_ids=edm.time_ids(level, self._recipe.diffusion),
        )

    def _latents(self, batch: TrainingBatch, normals: Tensor) -> Tensor:
        """The target, scaled (B, F, C, h, w): drawn out of the codec's distribution."""
        if batch.moments is not None:
            mean, std = self._here(batch.moments).float().chunk(2, dim=2)
        else:
            video = self._here(cast("Tensor", batch.video))
            flat = self.codec.moments(video.flatten(0, 1))
            mean, std = (part.unflatten(0, video.shape[:2]) for part in flat)
        return self.codec.scale * (mean + std * normals)

    def _pictures(self, batch: TrainingBatch, reference: Tensor) -> dict[Stream, Tensor]:
        """What the adapters see; the reference once for all frames."""
        streams: dict[Stream, Tensor | None] = {
            "shading": batch.shading,
            "landmarks": batch.landmarks,
            "reference": reference[:, None],
        }
        asked = self._recipe.model.adapters
        return {stream: self._here(cast("Tensor", streams[stream])) for stream in asked}

    def _kept(self, draws: Draws, condition: str) -> Tensor:
        return self._here(draws.keep(condition))

    def _here(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)


def mean_loss(
    objective: Objective, network: Forward, samples: Sequence[TrainingSample], note: Note
) -> Tensor:
    """What a training step makes smaller: the mean loss of some samples, each told by itself.

    Args:
        objective: Of the run.
        network: The network; gradients flow into it alone.
        samples: In the machine's memory.
        note: Told each sample's losses.
    """
    batch = collate(samples, objective.device)
    draws = objective.training_draws(batch.positions)
    losses = objective.losses(network, batch, draws)
    for position, full, portrait in zip(batch.positions, losses.full, losses.portrait, strict=True):
        note(position, full, portrait)
    return objective.total(losses)
