"""The latents of Stable Diffusion's image autoencoder, fine-tuned (sd-vae-ft-mse)."""

import re
from collections.abc import Callable
from typing import Any

import torch

from infra.weights import identity
from stages.models.nets import load_state, precision_on, ready_net
from training.model.latents import FACTOR, VAE_CHANNELS, check_pictures
from training.model.networks import AutoencoderKL
from training.model.weights import VAE

SCALE = 0.18215
"""Of latents: by Rombach et al. 2022, the reciprocal of their standard deviation."""

PIXELS = 4 * 512 * 512
"""Pixels that go through the network at once: beyond that a GPU gains nothing but memory use."""

CONFIG: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": VAE_CHANNELS,
    "norm_num_groups": 32,
    "scaling_factor": SCALE,
}
"""Arguments of diffusers' AutoencoderKL."""

_OLDER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class VaeCodec:
    """Latents of an autoencoder, some pictures at a time; without gradients.

    Args:
        net: The autoencoder, ready to run.
        digest: Of its weights.
    """

    channels = VAE_CHANNELS
    factor = FACTOR
    scale = SCALE

    def __init__(self, net: AutoencoderKL, digest: str) -> None:
        self.net = net
        self.digest = digest

    @torch.no_grad()
    def moments(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `LatentCodec.moments`."""
        check_pictures(pictures)
        encoded = self._in_chunks(
            lambda some: self.net.encode(some).latent_dist.parameters, pictures, per_latent=1
        )
        mean, log_variance = encoded.chunk(2, dim=1)
        # Exponentials of half precision would lose the small deviations that there are.
        return mean, torch.exp(0.5 * log_variance.clamp(-30, 20))

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """See `LatentCodec.decode`."""
        return self._in_chunks(
            lambda some: self.net.decode(some, return_dict=False)[0],
            latents.float() / self.scale,
            per_latent=FACTOR**2,
        )

    def _in_chunks(
        self,
        run: Callable[[torch.Tensor], torch.Tensor],
        given: torch.Tensor,
        per_latent: int,
    ) -> torch.Tensor:
        """What ``run`` makes of a batch, float32, a chunk at a time.

        Args:
            run: The network's half.
            given: (N, C, H, W).
            per_latent: Pixels to each of its places.
        """
        weight = self.net.encoder.conv_in.weight
        at_once = max(1, PIXELS // (given.shape[-2] * given.shape[-1] * per_latent))
        chunks = [run(some.to(weight)).float() for some in given.split(at_once)]
        return torch.cat(chunks)


def load_vae(device: torch.device, dtype: torch.dtype) -> VaeCodec:
    """The codec with its weights from the registry.

    Args:
        device: Where it shall run.
        dtype: Number format of its arithmetic; on a processor it is always float32.

    Raises:
        WeightsError: The weights are not here, or are others.
    """
    state = {newer_key(key): tensor for key, tensor in load_state(VAE).items()}
    net = ready_net(
        AutoencoderKL(**CONFIG),
        state,
        name=VAE,
        device=device,
        precision=precision_on(device, dtype),
    )
    return VaeCodec(net, identity(VAE))


def newer_key(key: str) -> str:
    """Today's name of a tensor of diffusers' attention, whose older files call it otherwise."""
    return re.sub(
        r"(\.attentions\.\d+)\.(query|key|value|proj_attn)\.",
        lambda found: f"{found[1]}.{_OLDER[found[2]]}.",
        key,
    )
