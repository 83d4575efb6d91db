"""Two shorter ways through Stable Video Diffusion's UNet, which change nothing but rounding.

- Cross-attention to a single token needs no attention: a softmax over one key is 1, whatever the
  query, and every place gets the token's value. Queries, keys and the attention itself are left
  out, and the value is computed once a sample rather than for each frame and each place.
- A convolution over time alone, 3 x 1 x 1, is one of 3 x 1 over frames and places: oneDNN does
  that in half the time.

They are for sampling alone: in training every weight must have a gradient, and those of queries
and keys would have none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import conv2d

_CROSS_ATTENTION = "attn2"  # its name in all of diffusers' transformer blocks


class Shortcuts:
    """The shorter ways of a UNet, where each sample has one token.

    Args:
        unet: Diffusers' UNet of Stable Video Diffusion; it is changed only while they are `used`.
    """

    def __init__(self, unet: nn.Module) -> None:
        modules: dict[str, Any] = dict(unet.named_modules())
        self._attentions = [
            module
            for name, module in modules.items()
            if name.rpartition(".")[2] == _CROSS_ATTENTION
        ]
        self._convolutions = [module for module in modules.values() if _over_time_alone(module)]

    @contextmanager
    def used(self, batch: int) -> Iterator[None]:
        """Within, passes of the UNet on ``batch`` samples go the shorter ways."""
        processors = [attention.processor for attention in self._attentions]
        for attention in self._attentions:
            attention.processor = _ValueOfToken(batch)
        for convolution in self._convolutions:
            convolution.forward = _flat(convolution)
        try:
            yield
        finally:
            for attention, processor in zip(self._attentions, processors, strict=True):
                attention.processor = processor
            for convolution in self._convolutions:
                del convolution.forward  # the class's own is there again


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


class _ValueOfToken:
    """An attention processor of diffusers'."""

    def __init__(self, batch: int) -> None:
        self._batch = batch

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """The value (N, 1, C) that is the same for all places of hidden states (N, places, C).

        Tokens (N, 1, D) come repeated for the frames of a sample, or for its places.
        """
        times = len(encoder_hidden_states) // self._batch
        values: Tensor = attn.to_out[0](attn.to_v(encoder_hidden_states[::times]))
        return values.repeat_interleave(times, dim=0)
