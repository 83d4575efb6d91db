"""Shorter ways through Stable Video Diffusion's UNet, which change nothing but rounding.

- Cross-attention to a single token needs no attention: a softmax over one key is 1, whatever the
  query, and every place gets the token's value. Queries, keys and the attention itself are left
  out, as is the norm before, and the value is computed once a sample rather than for each frame
  and each place.
- A convolution over time alone, 3 x 1 x 1, is one of 3 x 1 over frames and places: oneDNN does
  that in half the time.
- A feed-forward layer widens each place eightfold. On a processor some places at a time go
  through it, so that what is wide stays in the cache.
- What is found in space and what is found over time are blended in one pass over them, not three.

They are for sampling alone: in training every weight must have a gradient, and those of queries
and keys would have none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from training.model.networks import (
    AlphaBlender,
    BasicTransformerBlock,
    FeedForward,
    TemporalBasicTransformerBlock,
)

_WIDE_AT_ONCE = 2**18
"""Numbers that are widest in a feed-forward layer: 1 MiB of them, a core's cache."""

_CROSS_ATTENTION = "attn2"  # its name in all of diffusers' transformer blocks


class Shortcuts:
    """The shorter ways of a UNet, where each sample has one token.

    Args:
        unet: Diffusers' UNet of Stable Video Diffusion; it is changed only while they are `used`.
    """

    def __init__(self, unet: nn.Module) -> None:
        self._batch = 1
        self._forwards: list[tuple[nn.Module, Callable[..., Tensor]]] = []
        for name, module in unet.named_modules():
            if name.rpartition(".")[2] == _CROSS_ATTENTION:
                self._forwards.append((module, self._value_of_token(module)))
            elif _over_time_alone(module):
                self._forwards.append((module, _flat(module)))
            elif isinstance(module, FeedForward):
                self._forwards.append((module, _in_parts(module)))
            elif isinstance(module, AlphaBlender):
                self._forwards.append((module, _blended(module)))
            elif isinstance(module, BasicTransformerBlock | TemporalBasicTransformerBlock):
                self._forwards.append((module.norm2, nn.Identity()))

    @contextmanager
    def used(self, batch: int) -> Iterator[None]:
        """Within, passes of the UNet on ``batch`` samples go the shorter ways."""
        self._batch = batch
        for module, forward in self._forwards:
            vars(module)["forward"] = forward
        try:
            yield
        finally:
            for module, _ in self._forwards:
                del vars(module)["forward"]  # the class's own is there again

    def _value_of_token(self, attention: Any) -> Callable[..., Tensor]:
        def forward(hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object) -> Tensor:
            """The value (N, 1, C) that is the same for all places of hidden states (N, places, C).

            Tokens (N, 1, D) come repeated for the frames of a sample, or for its places.
            """
            times = len(encoder_hidden_states) // self._batch
            values: Tensor = attention.to_out[0](attention.to_v(encoder_hidden_states[::times]))
            return values.repeat_interleave(times, dim=0)

        return forward


def _over_time_alone(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv3d)
        and module.kernel_size[1:] == (1, 1)
        and module.stride == module.dilation == (1, 1, 1)
        and module.groups == 1
    )


def _flat(convolution: nn.Conv3d) -> Callable[[Tensor], Tensor]:
    def forward(given: Tensor) -> Tensor:
        """Of (N, C, F, h, w)."""
        weight, padding = convolution.weight.squeeze(-1), (int(convolution.padding[0]), 0)
        made = conv2d(given.flatten(3), weight, convolution.bias, padding=padding)
        return made.unflatten(3, given.shape[3:])

    return forward


def _in_parts(layer: FeedForward) -> Callable[[Tensor], Tensor]:
    def forward(given: Tensor) -> Tensor:
        """Of (N, places, C)."""
        if given.device.type != "cpu":
            return cast("Tensor", FeedForward.forward(layer, given))
        rows = max(1, _WIDE_AT_ONCE // layer.net[0].proj.out_features)
        parts = given.flatten(0, 1).split(rows)
        made = torch.cat([FeedForward.forward(layer, part) for part in parts])
        return made.view(given.shape[:2] + made.shape[1:])

    return forward


def _blended(blender: AlphaBlender) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def forward(x_spatial: Tensor, x_temporal: Tensor, image_only_indicator: Tensor) -> Tensor:
        """As for a film, which Stable Video Diffusion's UNet says that all its samples are."""
        share = torch.sigmoid(blender.mix_factor).to(x_spatial.dtype)
        return torch.lerp(x_temporal, x_spatial, share)

    return forward
