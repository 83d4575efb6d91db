"""The moving average of the weights: every rank averages the master copies that it holds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

CHUNK = 1 << 24
"""Elements that are exchanged at once, which bounds the memory that it takes."""


def decay(updates: int, most: float) -> float:
    """Decay of one update: lower at the start, where the average has seen little.

    Args:
        updates: Optimizer steps taken before this one.
        most: The recipe's decay.
    """
    return min(most, (1 + updates) / (10 + updates))


class Average:
    """A moving average of tensors, in fp32 and beside them; nothing is communicated.

    Attributes:
        tensors: The averages, one of each tensor, or none where the decay is 0.
    """

    def __init__(self, masters: Sequence[Tensor], most: float) -> None:
        """Begin with the tensors as they are.

        Args:
            masters: What is averaged; later calls look at the same tensors.
            most: Decay; 0 keeps no average.
        """
        self._masters = tuple(masters)
        self._most = most
        self._swapped = False
        self.tensors = tuple(m.clone() for m in self._masters) if most > 0 else ()

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Once an optimizer step: ``average += (1 - decay) * (master - average)``.

        Args:
            updates: Optimizer steps taken before this one.
        """
        weight = 1 - decay(updates, self._most)
        for average, master in zip(self.tensors, self._masters, strict=False):
            average.lerp_(master, weight)

    @contextmanager
    def swapped(self, publish: Callable[[], None]) -> Iterator[None]:
        """Put the averages in the masters' place, and back, bit by bit.

        Args:
            publish: Gives the module what the masters hold; called after each exchange.
        """
        if self._swapped:
            raise RuntimeError("the averages are in the masters' place already")
        if not self.tensors:
            yield
            return
        self._exchange()
        self._swapped = True
        try:
            publish()
            yield
        finally:
            self._exchange()
            self._swapped = False
            publish()

    @property
    def in_place(self) -> bool:
        """Whether masters are masters: not within `swapped`."""
        return not self._swapped

    @torch.no_grad()
    def _exchange(self) -> None:
        for average, master in zip(self.tensors, self._masters, strict=True):
            for one, other in zip(average.split(CHUNK), master.split(CHUNK), strict=True):
                kept = one.clone()
                one.copy_(other)
                other.copy_(kept)
