"""Windows of tokens: who attends to whom in a Swin transformer, and across which fragments.

Tokens lie on a grid of time, rows and columns. A block's attention stays within windows of
it; every other block shifts them by about half a window, cyclically, so that windows at the
end join tokens that are no neighbours, which a mask keeps apart (Liu et al. 2022, Video Swin).
FAST-VQA adds a gate: how many fragments lie between two tokens of a window.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Self

import torch
from torch import Tensor

Axes = tuple[int, int, int]
"""Something of time, rows and columns."""

BASE: Axes = (8, 7, 7)
"""Window, in tokens, of an input of `BASE_INPUT`; the bias tables are made for it."""

BASE_INPUT: Axes = (32, 224, 224)
"""Frames, rows and columns of the input that `BASE` belongs to."""

SHIFT: Axes = (4, 3, 3)
"""Of every other block, in tokens; also where windows are smaller than `BASE`."""


def adaptive_window(size: Axes) -> Axes:
    """The window for an input of so many frames, rows and columns: `BASE` in proportion."""
    t, h, w = (b * n // full for b, n, full in zip(BASE, size, BASE_INPUT, strict=True))
    return t, h, w


@dataclass(frozen=True)
class Windows:
    """How a block cuts its tokens.

    Attributes:
        tokens: Of the whole grid, along each axis.
        size: Of a window; divides ``tokens``.
        shift: By which the grid is rolled back before it is cut.
    """

    tokens: Axes
    size: Axes
    shift: Axes

    @classmethod
    def fit(cls, tokens: Axes, size: Axes, shift: Axes) -> Self:
        """Windows of ``size``; an axis no longer than its window is one window, unshifted.

        Raises:
            ValueError: The windows do not fill an axis. No published input needs padding.
        """
        fitted, shifts = [], []
        for n, window, by in zip(tokens, size, shift, strict=True):
            if n > window > 0 and n % window == 0:
                fitted.append(window)
                shifts.append(by)
            elif 0 < n <= window:
                fitted.append(n)
                shifts.append(0)
            else:
                raise ValueError(f"{tokens} tokens cannot be cut into windows of {size}")
        return cls(tokens, (fitted[0], fitted[1], fitted[2]), (shifts[0], shifts[1], shifts[2]))

    def split(self, x: Tensor) -> Tensor:
        """Tokens by window: (B, T, H, W, C) to (B, windows, tokens of a window, C)."""
        if any(self.shift):
            x = x.roll([-by for by in self.shift], dims=(1, 2, 3))
        (t, h, w), (a, b, c) = self._counts, self.size
        x = x.reshape(len(x), t, a, h, b, w, c, -1).permute(0, 1, 3, 5, 2, 4, 6, 7)
        return x.reshape(len(x), t * h * w, a * b * c, -1)

    def join(self, x: Tensor) -> Tensor:
        """The inverse of `split`."""
        (t, h, w), (a, b, c) = self._counts, self.size
        x = x.reshape(len(x), t, h, w, a, b, c, -1).permute(0, 1, 4, 2, 5, 3, 6, 7)
        x = x.reshape(len(x), *self.tokens, -1)
        return x.roll(self.shift, dims=(1, 2, 3)) if any(self.shift) else x

    @property
    def _counts(self) -> Axes:
        t, h, w = (n // window for n, window in zip(self.tokens, self.size, strict=True))
        return t, h, w


@lru_cache(maxsize=32)
def gates(windows: Windows, device: torch.device) -> Tensor:
    """Fragments from one token of a window to another, along rows plus along columns.

    The grid is divided into as many fragments as a window has tokens, in each direction. The
    reference takes this distance as it is, where the paper speaks of a flag; it rolls with
    the shift, so that windows that join opposite edges have large ones.

    Returns:
        (windows, N, N) uint8 for N tokens a window.
    """
    (_, height, width), (_, high, wide) = windows.tokens, windows.size
    rows = torch.arange(height) * high // height
    columns = torch.arange(width) * wide // width
    pair = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
    (places,) = windows.split(pair.expand(1, *windows.tokens, 2))
    distance = (places[:, :, None] - places[:, None]).abs().sum(dim=-1)
    return distance.to(device, torch.uint8)


@lru_cache(maxsize=32)
def strangers(windows: Windows, device: torch.device) -> Tensor | None:
    """Which tokens of a window met only because the grid was rolled.

    Returns:
        (windows, N, N) bool, ``None`` where there is no shift.
    """
    if not any(windows.shift):
        return None
    label = torch.zeros(windows.tokens, dtype=torch.int64)
    for axis, (n, size, by) in enumerate(
        zip(windows.tokens, windows.size, windows.shift, strict=True)
    ):
        if by:
            place = torch.arange(n)
            part = (place >= n - size).long() + (place >= n - by).long()
            label = 3 * label + part.reshape([n if a == axis else 1 for a in range(3)])
    # The labels are those of the rolled grid already.
    still = Windows(windows.tokens, windows.size, (0, 0, 0))
    (labels,) = still.split(label[None, ..., None])[..., 0]
    return (labels[:, :, None] != labels[:, None]).to(device)


def relative_index() -> Tensor:
    """Row of a bias table for each pair of tokens in a window of `BASE`.

    Returns:
        (N, N) int64 for N = 392: the offset between the two along the three axes, each
        counted from 0, as one number.
    """
    places = torch.cartesian_prod(*(torch.arange(n) for n in BASE))
    offset = places[:, None] - places[None] + torch.tensor(BASE) - 1
    _, rows, columns = (2 * n - 1 for n in BASE)
    return (offset * torch.tensor([rows * columns, columns, 1])).sum(dim=-1)


def within(index: Tensor, size: Axes) -> Tensor:
    """The part of a `relative_index` that a smaller window needs: (N, N) of its own tokens."""
    t, h, w = size
    return index.reshape(*BASE, *BASE)[:t, :h, :w, :t, :h, :w].reshape(prod(size), prod(size))
