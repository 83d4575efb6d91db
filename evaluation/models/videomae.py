"""VideoMAE-v2 (Wang et al. 2023), whose features the content-debiased FVD compares.

A vision transformer over tubelets, blocks of two frames by 14 x 14 pixels, trained to fill in
masked ones and then fine-tuned to tell the actions of Something-Something v2. Ge et al., "On the
Content Bias in Fréchet Video Distance" (CVPR 2024), take what it feeds its classifier: the mean
over all tokens, normalised. Keys and shapes are those that their code (cd-fvd) loads strictly; no
checkpoint was at hand to load.
"""

from functools import cache
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stages.models.nets import load_state, one_thread, ready_net

WEIGHT = "videomae_ssv2"
"""Name in the weights registry."""

SIZE = 224
"""Side of the frames that the network takes, pixels."""

TUBELET = (2, 14, 14)
"""Frames, rows and columns of a token."""

_HEAD = "head."
_EPSILON = 1e-6


@cache
def positions(tokens: int, width: int) -> Tensor:
    """What is added to the tokens so that they know their places, (tokens, width) float32.

    Sines in even columns, cosines in odd ones (Vaswani et al. 2017, section 3.5); tokens are
    counted by column, then by row, then in time.
    """
    rates = 10000.0 ** (-2 * (np.arange(width) // 2) / width)
    angles = np.arange(tokens)[:, None] * rates
    angles[:, 0::2] = np.sin(angles[:, 0::2])
    angles[:, 1::2] = np.cos(angles[:, 1::2])
    return torch.from_numpy(angles.astype(np.float32))


class TubeletEmbedding(nn.Module):
    """A clip to its tokens.

    Args:
        width: Of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, width, TUBELET, TUBELET)

    def forward(self, clips: Tensor) -> Tensor:
        """(B, 3, T, H, W) to (B, tokens, width)."""
        return cast("Tensor", self.proj(clips).flatten(2).transpose(1, 2))


class Attention(nn.Module):
    """Self-attention; queries and values have biases, keys none.

    Args:
        width: Of the tokens.
        heads: Among which it is shared out.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) to the same."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        mixed = functional.linear(x, self.qkv.weight, bias)
        query, key, value = mixed.unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value)
        return cast("Tensor", self.proj(seen.transpose(1, 2).flatten(2)))


class Perceptron(nn.Module):
    """Two layers, GELU between them.

    Args:
        width: Of the tokens.
        hidden: Of the layer between.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) to the same."""
        return cast("Tensor", self.fc2(functional.gelu(self.fc1(x))))


class Block(nn.Module):
    """Self-attention and a perceptron, each after a norm and around a shortcut.

    Args:
        width: Of the tokens.
        heads: Of the attention.
        hidden: Of the perceptron.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, _EPSILON)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, _EPSILON)
        self.mlp = Perceptron(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) to the same."""
        x = x + self.attn(self.norm1(x))
        return cast("Tensor", x + self.mlp(self.norm2(x)))


class VideoMae(nn.Module):
    """The network without its classifier; the sizes are ViT-g/14's unless others are given.

    Args:
        width: Of the tokens.
        depth: Blocks.
        heads: Of each attention.
        hidden: Of each perceptron.
    """

    def __init__(
        self, width: int = 1408, depth: int = 40, heads: int = 16, hidden: int = 6144
    ) -> None:
        super().__init__()
        self.patch_embed = TubeletEmbedding(width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.fc_norm = nn.LayerNorm(width, _EPSILON)

    def forward(self, clips: Tensor) -> Tensor:
        """Features.

        Args:
            clips: (B, 3, 16, 224, 224), RGB in 0..1.

        Returns:
            (B, width).
        """
        x = self.patch_embed(clips)
        x = x + positions(*x.shape[1:]).to(x)
        for block in self.blocks:
            x = block(x)
        return cast("Tensor", self.fc_norm(x.mean(1)))


def to_input(clips: Tensor) -> Tensor:
    """Clips (N, T, H, W, 3) uint8 as the network takes them: (N, 3, T, 224, 224) in 0..1.

    Each frame is resized by itself, bilinear, whatever its aspect. Colours are not normalised
    further, as in cd-fvd, though the network was trained on colours that were.
    """
    count, length = clips.shape[:2]
    frames = clips.flatten(0, 1).permute(0, 3, 1, 2) / 255
    frames = functional.interpolate(frames, (SIZE, SIZE), mode="bilinear", align_corners=False)
    return frames.unflatten(0, (count, length)).transpose(1, 2)


class ClipFeatures:
    """The network on clips.

    Args:
        net: Ready to run.
    """

    def __init__(self, net: VideoMae) -> None:
        self._net = net
        self._device = next(net.parameters()).device

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (n, width) of clips (n, 16, H, W, 3), RGB."""
        shown = torch.from_numpy(clips).to(self._device)
        with one_thread(), torch.inference_mode():
            found: NDArray[np.float32] = self._net(to_input(shown)).cpu().numpy()
            return found


def load_clip_features() -> ClipFeatures:
    """The network with the published weights; those of its classifier are left where they are.

    Raises:
        WeightsError: They are missing, or another architecture's.
    """
    # Filled at once: a billion numbers of its own would be drawn for nothing.
    with torch.device("meta"):
        net = VideoMae()
    net.to_empty(device="cpu")
    state = {key: each for key, each in load_state(WEIGHT).items() if not key.startswith(_HEAD)}
    return ClipFeatures(ready_net(net, state, name=WEIGHT))
