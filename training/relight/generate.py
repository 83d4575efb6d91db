"""From a reference and its driving streams to generated portraits: the model's part of the work."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.matting import hard_mask
from training.diffusion.branches import guidance
from training.diffusion.edm import time_ids
from training.diffusion.network import LcvdNetwork
from training.diffusion.sample import frame_noise, sample
from training.model.folder import LoadedModel
from training.model.latents import LatentCodec, load_codec
from training.model.tokens import load_token_encoder
from training.recipe import Recipe
from training.relight.conditions import DrawnConditions, Picture, signed, unsigned
from training.relight.options import RelightOptions
from training.samples.view import View

GROUND_NOISE = 0.02
"""Standard deviation of the noise on the reference that becomes the ground, as LCVD samples."""

_NOISE_OF_GROUND = 1 << 31  # a frame's index that no film has
_DECODED_AT_ONCE = 8

_WINDOWS = 2
"""Windows in one pass, at least: a pass costs much for being begun (`benchmarks/sampler.py`)."""

_LATENTS = {"cpu": 16 * 16, "cuda": 2 * 64 * 64}
"""Of one frame in each window of a pass: smaller pictures go through in more windows. On a GPU up
to the work of the fewest at 512 pixels; on a processor as long as they stay in its cache."""


class Generator:
    """A model, ready to generate portraits of one reference.

    Args:
        model: The model; its device and precision are used.
        portrait: The reference's square (n, n, 3), uint8.
        matte: Its matte (n, n), uint8.

    Raises:
        WeightsError: Weights beside the model's own (VAE, CLIP) are not here.
    """

    def __init__(
        self, model: LoadedModel, portrait: Picture, matte: NDArray[np.uint8], *, seed: int
    ) -> None:
        parameter = next(model.lcvd.parameters())
        self._model = model
        self._device, self._dtype = parameter.device, parameter.dtype
        self._seed = seed
        self.size = model.recipe.data.size
        self.codec: LatentCodec = load_codec(model.recipe.model, self._device, self._dtype)
        self._grid = self.size // self.codec.factor
        self._reference = signed(self.seen(portrait)).to(self._device)
        self._matte = matte

    def seen(self, square: Picture) -> Picture:
        """A square as the model sees it, resized as training resizes a release's pictures."""
        return View.full(len(square), self.size).pictures(square[None])[0]

    @torch.inference_mode()
    def latents(
        self,
        conditions: DrawnConditions,
        frames: int,
        options: RelightOptions,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Tensor:
        """Draw the latents (frames, C, h, w) of a clip, on the processor.

        Args:
            conditions: What drives the portrait.
            frames: Of the clip.
            options: Guidance, steps and seed.
            progress: Called with the number of passes done, and of all.
            cancelled: Asked before each pass whether to end.
        """
        recipe = self._model.recipe
        table = recipe.sampling
        network = LcvdNetwork(
            self._model.lcvd,
            ground=self._ground(),
            token=self._token(),
            reference=self._reference,
            conditions=conditions,
            time_ids=time_ids(torch.tensor([GROUND_NOISE]), recipe.diffusion)[0],
        )
        light, identity = weights(recipe, options)
        drawn = sample(
            network,
            frames=frames,
            shape=(self.codec.channels, self._grid, self._grid),
            guidance=guidance(recipe.conditions.scheme, light, identity, options.stream),
            steps=options.steps or table.steps,
            sigma_min=table.sigma_min,
            sigma_max=table.sigma_max,
            window=table.window,
            overlap=table.overlap,
            seed=self._seed,
            windows_at_once=windows_at_once(self._device, self._grid),
            progress=progress,
            cancelled=cancelled,
        )
        return drawn[1:]  # the reference's own slot is no frame of the clip

    def pictures(self, latents: Tensor) -> Iterator[Picture]:
        """Decode latents, a few at a time: uint8 (size, size, 3) each."""
        for part in latents.split(_DECODED_AT_ONCE):
            with torch.inference_mode():
                decoded = unsigned(self.codec.decode(part.to(self._device)))
            yield from decoded

    def _ground(self) -> Tensor:
        """The latent around the reference's portrait (C, h, w)."""
        noise = frame_noise(self._seed, _NOISE_OF_GROUND, (3, self.size, self.size))
        noised = self._reference + GROUND_NOISE * noise.to(self._device)
        mean, _ = self.codec.moments(noised[None])
        share = View.full(len(self._matte), self._grid).pictures(self._matte[None])[0]
        around = torch.from_numpy(~hard_mask(share)).to(mean)
        return mean[0] * around

    def _token(self) -> Tensor:
        """The reference's token (1, D); its encoder, a large network, goes as it came."""
        encoder = load_token_encoder(self._model.recipe.model, self._device, self._dtype)
        return encoder(self._reference[None])[0]


def windows_at_once(device: torch.device, grid: int) -> int:
    """Windows that go through the network in one pass.

    Args:
        device: That of the network.
        grid: Latents along each side of a picture.
    """
    return max(_WINDOWS, _LATENTS.get(device.type, 0) // grid**2)


def weights(recipe: Recipe, options: RelightOptions) -> tuple[float, float]:
    """Weights of the light (or the landmarks) and of the reference in the guidance."""
    table = recipe.sampling
    light = table.light if options.guidance is None else options.guidance
    return light, table.identity if options.identity is None else options.identity
