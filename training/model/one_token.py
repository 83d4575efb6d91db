"""Cross-attention to a single token, without attention.

A softmax over one key is 1, whatever the query: every place gets the token's value. So queries,
keys and the attention itself are left out, and the value is computed once for each sample rather
than for each frame and each place of the latents. The results are the same numbers. It is for
sampling alone: training computes the rest too, so that every weight has a gradient.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

_NAME = "attn2"  # of cross-attention, in all of diffusers' transformer blocks


class OneTokenAttention:
    """Makes a UNet's cross-attention cheap, where it has one token a sample.

    Args:
        unet: Diffusers' UNet of Stable Video Diffusion; it is changed only while `used`.
    """

    def __init__(self, unet: nn.Module) -> None:
        self._layers: list[Any] = [
            module for name, module in unet.named_modules() if name.rpartition(".")[2] == _NAME
        ]

    @contextmanager
    def used(self, batch: int) -> Iterator[None]:
        """Within, passes of the UNet on ``batch`` samples go the short way."""
        before = [layer.processor for layer in self._layers]
        for layer in self._layers:
            layer.processor = _ValueOfToken(batch)
        try:
            yield
        finally:
            for layer, processor in zip(self._layers, before, strict=True):
                layer.processor = processor


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
