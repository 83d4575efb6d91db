"""What the UNet's cross-attention sees of the reference: one token of numbers."""

import math
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812

from infra.digests import digest_json
from infra.errors import UsageError
from training.recipe.tables import ModelTable


class TokenEncoder(Protocol):
    """A picture to a token."""

    width: int
    """D, numbers of the token."""

    digest: str
    """Changes with whatever changes a token."""

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """Tokens, float32 (B, 1, D), of pictures (B, 3, S, S) in [-1, 1]."""


class ColourToken:
    """The mean colours of a grid of squares; needs no weights.

    The grid is the finest one, n x n, whose 3 n^2 numbers the token can hold (4 x 4 for 48); the
    rest of the token is 0. Numbers are in (colour, row, column) order.

    Args:
        width: Numbers of the token.
        device: Where it shall run.
    """

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        self.width = width
        self.grid = math.isqrt(width // 3)
        self.digest = digest_json({"colours": 1, "width": width})
        self._device = device

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """See `TokenEncoder.__call__`."""
        seen = pictures.to(self._device, torch.float32)
        means = F.adaptive_avg_pool2d(seen, self.grid).flatten(1)
        return F.pad(means, (0, self.width - means.shape[1]))[:, None]


def load_token_encoder(table: ModelTable, device: torch.device, dtype: torch.dtype) -> TokenEncoder:
    """The token encoder that a model table names.

    Args:
        table: Of the recipe.
        device: Where it shall run.
        dtype: Number format of its arithmetic, where it is a network on a GPU.

    Raises:
        UsageError: It has another width than the table says.
        WeightsError: Its weights are not here.
    """
    if table.token == "colours":
        return ColourToken(table.token_width, device)
    from training.model.clip import WIDTH, load_clip

    if table.token_width != WIDTH:
        raise UsageError(
            f"model.token_width = {table.token_width}, but a token of CLIP has {WIDTH} numbers",
            hint=f"set model.token_width = {WIDTH}, or model.token = 'colours'",
        )
    return load_clip(device, dtype)
