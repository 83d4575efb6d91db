"""CLIP ViT-B/32 (Radford et al. 2021): pictures and sentences in one space.

Keys and shapes are those of OpenAI's checkpoint.
"""

from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn

SIDE = 224
"""Of the pictures, in pixels."""

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of the colours, 1 is white, that it was trained on."""

CONTEXT = 77
"""Tokens of a sentence, filled up with zeros."""

_VOCABULARY = 49408
_PATCH = 32


class QuickGelu(nn.Module):
    """The approximation of GELU that CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """Self-attention and a perceptron, each after a norm and around a shortcut.

    Args:
        width: Of the tokens.
        heads: Of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict[str, nn.Module](
                c_fc=nn.Linear(width, 4 * width),
                gelu=QuickGelu(),
                c_proj=nn.Linear(4 * width, width),
            )
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, width) to the same.

        Args:
            x: The tokens.
            mask: (N, N), added to the attention's logits.
        """
        seen = self.ln_1(x)
        x = x + self.attn(seen, seen, seen, need_weights=False, attn_mask=mask)[0]
        return cast("Tensor", x + self.mlp(self.ln_2(x)))


class Transformer(nn.Module):
    """A stack of blocks.

    Args:
        width: Of the tokens.
        layers: Blocks.
        heads: Of each attention.
    """

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N, width) to the same."""
        for block in self.resblocks:
            x = block(x, mask)
        return x


class VisionTransformer(nn.Module):
    """Pictures to embeddings.

    Args:
        width: Of the tokens.
        layers: Blocks.
        heads: Of each attention.
        out: Numbers of an embedding.
    """

    def __init__(self, width: int, layers: int, heads: int, out: int) -> None:
        super().__init__()
        tokens = (SIDE // _PATCH) ** 2 + 1
        self.conv1 = nn.Conv2d(3, width, kernel_size=_PATCH, stride=_PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, heads)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.zeros(width, out))

    def forward(self, pictures: Tensor) -> Tensor:
        """Embed pictures (B, 3, 224, 224), normalised: (B, out)."""
        patches = self.conv1(pictures).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(patches), 1, -1)
        x = torch.cat([first, patches], dim=1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x))
        return cast("Tensor", self.ln_post(x[:, 0]) @ self.proj)


class Clip(nn.Module):
    """Both encoders; the sizes are ViT-B/32's unless others are given.

    Args:
        vision: Width, layers and heads of the pictures' transformer.
        text: The same of the sentences'.
        out: Numbers of an embedding.
    """

    def __init__(
        self,
        vision: tuple[int, int, int] = (768, 12, 12),
        text: tuple[int, int, int] = (512, 12, 8),
        out: int = 512,
    ) -> None:
        super().__init__()
        width = text[0]
        self.positional_embedding = nn.Parameter(torch.zeros(CONTEXT, width))
        self.text_projection = nn.Parameter(torch.zeros(width, out))
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.visual = VisionTransformer(*vision, out)
        self.transformer = Transformer(*text)
        self.token_embedding = nn.Embedding(_VOCABULARY, width)
        self.ln_final = nn.LayerNorm(width)

    def pictures(self, pictures: Tensor) -> Tensor:
        """Unit embeddings (B, out) of pictures (B, 3, 224, 224), normalised."""
        return nn.functional.normalize(self.visual(pictures), dim=1)

    def sentences(self, tokens: Tensor) -> Tensor:
        """Unit embeddings (B, out) of sentences, read at their last token.

        Args:
            tokens: int64 (B, 77): the end's number is the largest of all, and zeros follow it.
        """
        x = self.token_embedding(tokens) + self.positional_embedding
        later = torch.full((CONTEXT, CONTEXT), float("-inf"), device=x.device).triu(1)
        x = self.ln_final(self.transformer(x, later))
        last = x[torch.arange(len(x)), tokens.argmax(dim=1)]
        return nn.functional.normalize(last @ self.text_projection, dim=1)
