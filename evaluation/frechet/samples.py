"""Feature vectors themselves, for what moments cannot answer; their order is their content's."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import Statistics


@dataclass(frozen=True, eq=False)
class Samples(Statistics):
    """Feature vectors of many films.

    A set metric keeps these: as long as there are fewer than a vector has numbers they are
    smaller than a covariance, and subsets can be drawn from them.

    Attributes:
        parts: Tables (n, d) of floating-point numbers, in the order of merging.
    """

    parts: tuple[NDArray[Any], ...]

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Self:
        """Of feature vectors (n, d).

        Raises:
            ValueError: They are no table of finite numbers.
        """
        if rows.ndim != 2 or not np.isfinite(rows).all():
            raise ValueError(f"features are rows of finite numbers; these have shape {rows.shape}")
        return cls((rows,))

    def merged(self, other: Self) -> Self:
        """Both together.

        Raises:
            ValueError: Their vectors differ in length.
        """
        if self.width != other.width:
            raise ValueError(
                f"features of {self.width} and of {other.width} numbers cannot be merged"
            )
        return type(self)(self.parts + other.parts)

    @property
    def count(self) -> int:
        """Vectors in it."""
        return sum(len(part) for part in self.parts)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self.parts[0].shape[1])

    @property
    def weighted(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Vectors (k, d) in the order of merging, and how often each counts (k,).

        A table that was merged many times, as a bootstrap does it, is there once.
        """
        tables = {id(part): part for part in self.parts}
        times = Counter(map(id, self.parts))
        counts = [np.full(len(table), times[key]) for key, table in tables.items()]
        return np.concatenate([*tables.values()]), np.concatenate(counts)

    @cached_property
    def rows(self) -> NDArray[Any]:
        """All vectors (n, d), in the order of their digests.

        The order is that of chance, so that any first k are a random subset; yet it is the same
        however the set was put together.
        """
        rows = np.concatenate(self.parts)
        digests = [blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
        return rows[sorted(range(len(rows)), key=digests.__getitem__)]
