"""Mean and covariance of features, streamed: every order and partition gives the same bits.

Sums in floating point depend on their order. Here each number is put on a fixed grid of steps of
2^-32 and cut into three slices of 18 bits. A product of two slices is a small integer, so that
matrix products over thousands of rows are exact in float64 (the idea of Ozaki, Ogita, Oishi and
Rump: "Error-free transformations of matrix multiplication by using fast routines of matrix
multiplication", 2012); their sums are kept as integers. Nothing is rounded after the grid until
a mean or a covariance is asked for. So merging is associative and commutative, bit for bit.

Numbers of float32 from 2^-9 upward lie on the grid; any other moves by at most 1.2e-10.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import Statistics

LARGEST = 2.0**20
"""Features must be smaller than this."""

_FRACTION = 32  # bits behind the point
_SLICE = 18  # bits of a slice: 2 * (18 - 1) for a product, and 19 left to add products up
_SLICES = 3
_LEVELS = 2 * _SLICES - 1
_CHUNK = 4096  # rows multiplied at once: sums of 3 * 4096 products stay below 2^53
_MOST = 2**24  # rows; each adds up to 2^38 to a sum while they are centred, which is an int64


@dataclass(frozen=True, eq=False)
class Moments(Statistics):
    """Exact sums of feature vectors and of their outer products.

    Attributes:
        count: Vectors seen.
        first: (3, d) int64: sums of each slice, the lowest first.
        second: (5, d, d) int64: sums of products of slices, by the sum of the slices' places.
    """

    count: int
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    @classmethod
    def of(cls, rows: NDArray[np.floating]) -> Self:
        """Of feature vectors (n, d); n may be 0.

        Raises:
            ValueError: They are no table of finite numbers below `LARGEST`.
        """
        if rows.ndim != 2:
            raise ValueError(f"features are rows of numbers, not an array of shape {rows.shape}")
        width = rows.shape[1]
        first = np.zeros((_SLICES, width), np.int64)
        second = np.zeros((_LEVELS, width, width), np.int64)
        for begin in range(0, len(rows), _CHUNK):
            slices = _sliced(rows[begin : begin + _CHUNK])
            first += [part.sum(axis=0).astype(np.int64) for part in slices]
            for place, products in _products(slices):
                second[place] += products.astype(np.int64)
        return cls(len(rows), first, second)

    def merged(self, other: Self) -> Self:
        """Both together.

        Raises:
            ValueError: Their features differ in number, or there are too many for exact sums.
        """
        if self.first.shape != other.first.shape:
            widths = self.first.shape[1], other.first.shape[1]
            raise ValueError(f"features of {widths[0]} and of {widths[1]} numbers cannot be merged")
        if self.count + other.count > _MOST:
            raise ValueError(f"exact sums hold {_MOST} feature vectors at most")
        return type(self)(
            self.count + other.count, self.first + other.first, self.second + other.second
        )

    @property
    def mean(self) -> NDArray[np.float64]:
        """(d,).

        Raises:
            ValueError: There is nothing to take the mean of.
        """
        if not self.count:
            raise ValueError("no features: a mean needs one vector at least")
        centre, rest = self._centre()
        return np.ldexp(_value(centre) + _value(rest) / self.count, -_FRACTION)

    def covariance(self, ddof: int = 1) -> NDArray[np.float64]:
        """(d, d), symmetric.

        Args:
            ddof: What is taken from the count to divide by: 1 as NumPy's ``cov``, 0 as StyleGAN.

        Raises:
            ValueError: There are no more vectors than ``ddof``.
        """
        if self.count <= ddof:
            raise ValueError(
                f"{self.count} feature vectors have no covariance; at least {ddof + 1} have"
            )
        # Seen from a point of the grid beside the mean, as integers: nothing cancels later.
        centre, rest = self._centre()
        second = self.second.copy()
        for low in range(_SLICES):
            for high in range(_SLICES):
                second[low + high] -= np.outer(centre[low], self.first[high])
                second[low + high] -= np.outer(rest[low], centre[high])
        offset = _value(rest)
        products = _value(second) - np.outer(offset, offset / self.count)
        return np.ldexp(products / (self.count - ddof), -2 * _FRACTION)

    def _centre(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Slices (3, d) of a point of the grid beside the mean, and the sums as seen from it."""
        point = np.rint(_value(self.first) / self.count)
        centre = np.array(_cut(point), np.int64)
        return centre, self.first - self.count * centre


def _value(slices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Numbers of which these are the slices, the lowest first; carried, so that none cancel."""
    slices = slices.copy()
    for low, high in pairwise(slices):
        carried = (low + 2 ** (_SLICE - 1)) >> _SLICE
        low -= carried << _SLICE
        high += carried
    total = np.zeros(slices.shape[1:])
    for place in reversed(range(len(slices))):
        total += np.ldexp(slices[place].astype(np.float64), _SLICE * place)
    return total


def _sliced(rows: NDArray[np.floating]) -> list[NDArray[np.float64]]:
    """Slices of numbers on the grid: integers of 2^17 at most either way; float64, for BLAS."""
    rows = rows.astype(np.float64)
    if not (np.abs(rows) < LARGEST).all():  # so that NaN is refused too
        raise ValueError(f"features must be finite and below {LARGEST:.0f}")
    return _cut(np.rint(np.ldexp(rows, _FRACTION)))


def _cut(rest: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Whole numbers as slices, the lowest first."""
    slices = []
    for _ in range(_SLICES - 1):
        above = np.rint(np.ldexp(rest, -_SLICE))
        slices.append(rest - np.ldexp(above, _SLICE))
        rest = above
    return [*slices, rest]


def _products(slices: list[NDArray[np.float64]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Sums of outer products of the slices, with the place where each belongs."""
    for high, left in enumerate(slices):
        if not left.any():
            continue  # as the highest slice of most networks' features is
        yield 2 * high, left.T @ left
        for low, right in enumerate(slices[:high]):
            product = left.T @ right
            yield high + low, product + product.T
