"""LCVD: Stable Video Diffusion's UNet, unchanged, and adapters that add to its first features."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from infra.errors import UsageError
from training.model.adapters import Adapter
from training.model.latents import latent_channels
from training.model.networks import UNetSpatioTemporalConditionModel
from training.recipe.tables import ModelTable, Stream

TIME_IDS = 3
"""Numbers that the UNet is told of a video: frames a second, motion, noise on the ground."""

_GROUP = 32  # of the UNet's group norms


def unet_config(table: ModelTable) -> dict[str, Any]:
    """Arguments of diffusers' UNet: those of SVD-XT, with the table's sizes.

    As in SVD-XT every level but the coarsest attends to the token. Heads change no tensor's
    shape: diffusers' own default once was another than SVD-XT's, and loaded without a word.

    Raises:
        UsageError: The UNet cannot have such levels.
    """
    for width, heads in zip(table.channels, table.heads, strict=True):
        if width % _GROUP or width % heads:
            raise UsageError(
                f"a level of the UNet has {width} channels and {heads} heads; channels must be"
                f" a multiple of {_GROUP} and of the heads",
                hint="change model.channels or model.heads in the recipe",
            )
    attending = len(table.channels) - 1
    down = ("CrossAttnDownBlockSpatioTemporal",) * attending + ("DownBlockSpatioTemporal",)
    up = ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * attending
    # SVD's embedding of the time ids is nearly as wide as its finest level. Narrow UNets, which
    # it would dwarf, have half of theirs.
    finest = table.channels[0]
    embedding = 256 if finest >= 256 else finest // 2
    return {
        "in_channels": 2 * latent_channels(table),
        "out_channels": latent_channels(table),
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": table.channels,
        "addition_time_embed_dim": embedding,
        "projection_class_embeddings_input_dim": TIME_IDS * embedding,
        "layers_per_block": table.layers,
        "cross_attention_dim": table.token_width,
        "transformer_layers_per_block": 1,
        "num_attention_heads": table.heads,
    }


class Lcvd(nn.Module):
    """The denoising network, conditioned on pictures.

    Args:
        unet: Diffusers' UNet of Stable Video Diffusion.
        adapters: One for each of the pictures that it is conditioned on.

    Attributes:
        unet: The same.
        adapters: The same, as modules by stream.
    """

    def __init__(
        self, unet: UNetSpatioTemporalConditionModel, adapters: Mapping[Stream, nn.Module]
    ) -> None:
        super().__init__()
        self.unet = unet
        self.adapters = nn.ModuleDict({str(stream): each for stream, each in adapters.items()})
        self._recompute = False

    @classmethod
    def build(cls, table: ModelTable) -> "Lcvd":
        """A network of the table's sizes with random weights, from torch's generator.

        Raises:
            UsageError: There is no such UNet.
        """
        unet = UNetSpatioTemporalConditionModel(**unet_config(table))
        return cls(unet, {stream: Adapter(table.channels[0]) for stream in table.adapters})

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.unet.conv_in.weight.dtype

    def checkpointing(self, on: bool) -> None:
        """Whether activations are computed again in the backward pass rather than kept."""
        self._recompute = on
        if on:
            self.unet.enable_gradient_checkpointing()
        else:
            self.unet.disable_gradient_checkpointing()

    def features(
        self,
        pictures: Mapping[Stream, torch.Tensor],
        keep: Mapping[Stream, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """What the adapters add to the UNet's first features.

        Args:
            pictures: (B, F, 3, S, S) for each stream, or (B, 1, 3, S, S) for one that is the
                same in all frames: it is looked at once.
            keep: (B,) for each stream, 1 where a sample has that condition and 0 where not; a
                stream that is not named is kept. An adapter runs even if none keeps it: so all
                ranks have gradients for the same weights.

        Returns:
            (B, F, width, h, w), the sum over the streams.

        Raises:
            ValueError: No pictures, or of a stream that has no adapter.
        """
        total: torch.Tensor | None = None
        for stream, each in pictures.items():
            if stream not in self.adapters:
                raise ValueError(
                    f"pictures of {stream!r}; there are adapters for {', '.join(self.adapters)}"
                )
            batch, frames = each.shape[:2]
            flat = each.flatten(0, 1).to(self.dtype)
            seen = self._run(self.adapters[stream], flat).unflatten(0, (batch, frames))
            if keep is not None and stream in keep:
                seen = seen * keep[stream].to(seen)[:, None, None, None, None]
            total = seen if total is None else total + seen
        if total is None:
            raise ValueError("no pictures to take features of")
        return total

    def forward(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        token: torch.Tensor,
        time_ids: torch.Tensor,
        features: torch.Tensor | None = None,
        *,
        pictures: Mapping[Stream, torch.Tensor] | None = None,
        keep: Mapping[Stream, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """One pass of the network; the samples of a batch may differ in all their conditions.

        Features may be given, or pictures from which they are computed here: DeepSpeed sees
        what is trained only through one call of the whole.

        Args:
            latents: (B, F, 2C, h, w): noisy latents, scaled for the network, then the ground.
            timestep: (B,), a quarter of the noise level's logarithm.
            token: (B, 1, D), what cross-attention sees; zeros for none.
            time_ids: (B, 3): frames a second less 1, motion, noise on the ground.
            features: (B, F or 1, width, h, w) of `features`; None for none.
            pictures: As for `features`.
            keep: As for `features`.

        Returns:
            (B, F, C, h, w), the v-prediction, in the weights' number format.

        Raises:
            ValueError: Both features and pictures.
        """
        if pictures is not None:
            if features is not None:
                raise ValueError("give features or pictures, not both")
            features = self.features(pictures, keep)
        with _added(self.unet.conv_in, features, latents.shape[0], latents.shape[1]):
            (predicted,) = self.unet(
                latents.to(self.dtype),
                timestep,
                token.to(self.dtype),
                time_ids,
                return_dict=False,
            )
        result: torch.Tensor = predicted
        return result

    def _run(self, adapter: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
        again = self._recompute and self.training and torch.is_grad_enabled()
        made: torch.Tensor = (
            checkpoint(adapter, pictures, use_reentrant=False) if again else adapter(pictures)
        )
        return made


@contextmanager
def _added(
    module: nn.Module, features: torch.Tensor | None, batch: int, frames: int
) -> Iterator[None]:
    """Within, features are added to what a module gives for ``batch`` x ``frames``.

    The hook lives no longer than the call: it holds nothing between two of them, a copy of the
    network has none, and it is gone when the call fails.
    """
    if features is None:
        yield
        return
    flat = features.expand(batch, frames, -1, -1, -1).flatten(0, 1)

    def add(module: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        return out + flat.to(out.dtype)

    hook = module.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
