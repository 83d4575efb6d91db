"""Video Swin-T with FAST-VQA's gated relative position biases: the backbone.

Shapes follow Liu et al. 2022 (Video Swin, tiny), the biases Wu et al. 2022 (FAST-VQA, section
3.2) as its released code has them: see `Attention`. State-dict keys are the released ones.
Features stay channels-last, (B, T, H, W, C), from the patches on.
"""

from collections.abc import Sequence

import torch
from timm.layers import DropPath, Mlp, trunc_normal_
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from stages.models.fastervqa.windows import (
    BASE,
    SHIFT,
    Axes,
    Windows,
    adaptive_window,
    gates,
    relative_index,
    strangers,
    within,
)

PATCH: Axes = (2, 4, 4)
"""Frames, rows and columns that become one token."""

CHANNELS = (96, 192, 384, 768)
DEPTHS = (2, 2, 6, 2)
HEADS = (3, 6, 12, 24)

DROP_PATH = 0.1
"""Share of the samples that skip the last branch in training; the first is never skipped."""

APART = -100.0
"""What the mask adds to the logits of tokens that must not meet."""

_CPU_WINDOWS = 2  # at once: their biases and logits stay in a core's cache


class Attention(nn.Module):
    """Self-attention within windows, with biases by relative position.

    A pair of tokens g fragments apart gets ``g R + (1 - g) F`` of the tables R (relative) and
    F (fragment). The paper has g in {0, 1}; the released network was trained with the
    distance itself (see `stages.models.fastervqa.windows.gates`), and so extrapolates.

    Args:
        channels: Of the tokens.
        heads: Of the attention; divides the channels.
        gated: Whether there is a table F; R alone serves otherwise.
    """

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, *, gated: bool) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = _table(heads)
        if gated:
            self.fragment_position_bias_table = _table(heads)
        self.gated = gated
        self.register_buffer("relative_position_index", relative_index())
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """Attend: (B, windows, N, C) to the same."""
        batch, count, n, channels = x.shape
        qkv = self.qkv(x).reshape(batch, count, n, 3, self.heads, channels // self.heads)
        qkv = qkv.permute(3, 0, 1, 4, 2, 5)  # 3, B, windows, heads, N, channels of a head
        relative = self._by_pair(self.relative_position_bias_table, windows)
        apart = strangers(windows, x.device)
        if self.gated:
            fragment = self._by_pair(self.fragment_position_bias_table, windows)
            gate = gates(windows, x.device)
        mixed = torch.empty_like(x)
        step = count if x.is_cuda else _CPU_WINDOWS
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            if self.gated:
                bias = torch.lerp(fragment, relative, gate[part, None].to(x.dtype))
            else:
                bias = relative.expand(part.stop - start, -1, -1, -1)
            if apart is not None:
                bias = bias + APART * apart[part, None].to(x.dtype)
            # The kernel takes windows for heads, so that the clips of a batch share a bias.
            q, k, v = qkv[:, :, part].flatten(2, 3)
            out = scaled_dot_product_attention(q, k, v, attn_mask=bias.flatten(0, 1)[None])
            out = out.unflatten(1, (-1, self.heads)).transpose(2, 3)
            mixed[:, part] = out.flatten(3)
        return self.proj(mixed)

    def _by_pair(self, table: Tensor, windows: Windows) -> Tensor:
        """A table's entries for the pairs of a window: (heads, N, N)."""
        index = within(self.relative_position_index, windows.size)
        return table.T[:, index]


def _table(heads: int) -> nn.Parameter:
    t, h, w = (2 * n - 1 for n in BASE)
    return nn.Parameter(trunc_normal_(torch.empty(t * h * w, heads), std=0.02))


class Block(nn.Module):
    """Attention and a perceptron, each after a norm and around a shortcut.

    Args:
        channels: Of the tokens.
        heads: Of the attention.
        gated: Whether its biases tell fragments apart.
        drop_path: Share of the samples that skip a branch in training.
    """

    def __init__(self, channels: int, heads: int, *, gated: bool, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = Attention(channels, heads, gated=gated)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, 4 * channels)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """(B, T, H, W, C) to the same."""
        attended = self.attn(windows.split(self.norm1(x)), windows)
        x = x + self.drop_path(windows.join(attended))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchEmbedding(nn.Module):
    """Cubes of pixels to tokens: (B, 3, T, H, W) to (B, T/2, H/4, W/4, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, channels, kernel_size=PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(channels)

    def forward(self, clips: Tensor) -> Tensor:
        """Embed clips."""
        return self.norm(self.proj(clips).permute(0, 2, 3, 4, 1))


class PatchMerging(nn.Module):
    """Two by two tokens of a frame to one: (B, T, H, W, C) to (B, T, H/2, W/2, 2C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Merge; the lower left token comes before the upper right one."""
        corners = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class SwinStage(nn.Module):
    """Blocks at one resolution, every other one shifted; then the way to the next stage.

    Args:
        channels: Of the tokens.
        heads: Of the attention.
        gated: Whether its biases tell fragments apart.
        drop_paths: Of each block.
        merge: Whether a next stage follows.
    """

    def __init__(
        self, channels: int, heads: int, *, gated: bool, drop_paths: Sequence[float], merge: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(channels, heads, gated=gated, drop_path=rate) for rate in drop_paths
        )
        self.downsample = PatchMerging(channels) if merge else nn.Identity()

    def forward(self, x: Tensor, window: Axes) -> Tensor:
        """(B, T, H, W, C) to the next stage's shape, or the same for the last one."""
        _, t, h, w, _ = x.shape
        for index, block in enumerate(self.blocks):
            shift = SHIFT if index % 2 else (0, 0, 0)
            x = block(x, Windows.fit((t, h, w), window, shift))
        return self.downsample(x)


class SwinTransformer3D(nn.Module):
    """The backbone: (B, 3, T, S, S) normalised to (B, T/2, S/32, S/32, 768)."""

    def __init__(self) -> None:
        super().__init__()
        rates = torch.linspace(0, DROP_PATH, sum(DEPTHS), device="cpu").split(DEPTHS)
        last = len(DEPTHS) - 1
        self.patch_embed = PatchEmbedding(CHANNELS[0])
        self.layers = nn.ModuleList(
            SwinStage(
                CHANNELS[level],
                HEADS[level],
                gated=level < last,  # at the last stage a fragment is one token
                drop_paths=rates[level].tolist(),
                merge=level < last,
            )
            for level in range(len(DEPTHS))
        )
        self.norm = nn.LayerNorm(CHANNELS[-1])

    def forward(self, clips: Tensor) -> Tensor:
        """Features of clips whose sides are multiples of 32, and whose frames of 4."""
        _, _, t, h, w = clips.shape
        x = self.patch_embed(clips)
        for layer in self.layers:
            x = layer(x, adaptive_window((t, h, w)))
        return self.norm(x)
