"""Local binary patterns (Ahonen et al. 2006): a face's texture as a vector, without a network.

Each pixel is told by which of eight neighbours, on a circle of two pixels, are at least as bright
as it: a pattern that no change of brightness or contrast alters. The 58 patterns that change at
most twice around the circle are counted each, all others together, in 7 x 7 cells of the face.
Square roots of the shares make a unit vector, so that a cosine of two is their mean
Bhattacharyya coefficient.

Integers throughout: the same pixels give the same vector on every machine.
"""

import numpy as np
from numpy.typing import NDArray

CELLS = 7
"""Cells of a face in each direction."""

BINS = 59
"""Of a cell's histogram: uniform patterns, and one for the rest."""

SIZE = CELLS * CELLS * BINS
"""Numbers that describe a face."""

_RADIUS = 2
_ONE = 256  # interpolation in 256ths of a pixel
_DIAGONAL = round(_RADIUS * _ONE / 2**0.5)
_LUMA = np.array([77, 150, 29])  # Rec. 601, in 256ths


def local_binary_vectors(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Descriptions of aligned faces.

    Args:
        faces: (N, S, S, 3), RGB, S a multiple of 7 (112, as ArcFace aligns them).

    Returns:
        (N, 2891), each of unit length; nothing negative.
    """
    bins = _bins(faces @ _LUMA)
    side = faces.shape[1] // CELLS
    cells = bins.reshape(len(faces), CELLS, side, CELLS, side).swapaxes(2, 3)
    cells = cells.reshape(len(faces), CELLS * CELLS, side * side)
    # Each cell counts in bins of its own, so that one call counts a face.
    own = cells + BINS * np.arange(CELLS * CELLS)[:, None]
    counts = np.stack([np.bincount(face.ravel(), minlength=SIZE) for face in own])
    return np.sqrt(counts / (side * CELLS) ** 2).astype(np.float32)


def _bins(grey: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bin (N, S, S) of each pixel of grey pictures; beyond the border, the border goes on."""
    padded = np.pad(grey, [(0, 0), (_RADIUS, _RADIUS), (_RADIUS, _RADIUS)], mode="edge")
    patterns = np.zeros(grey.shape, np.int64)
    straight, diagonal = _RADIUS * _ONE, _DIAGONAL
    circle = [(0, straight), (diagonal, diagonal), (straight, 0), (diagonal, -diagonal)]
    circle += [(-down, -right) for down, right in circle]
    for bit, (down, right) in enumerate(circle):
        patterns |= (_shifted(padded, down, right) >= grey * _ONE**2).astype(np.int64) << bit
    return _BIN_OF[patterns]


def _shifted(padded: NDArray[np.int64], down: int, right: int) -> NDArray[np.int64]:
    """The pictures moved by 256ths of a pixel, bilinear, times 256 squared."""
    (top, y), (left, x) = divmod(down, _ONE), divmod(right, _ONE)
    side = padded.shape[1] - 2 * _RADIUS

    def part(rows: int, columns: int) -> NDArray[np.int64]:
        first, second = _RADIUS + top + rows, _RADIUS + left + columns
        return padded[:, first : first + side, second : second + side]

    # A whole step has no second part, which might lie outside.
    lines = [
        part(rows, 0) * (_ONE - x) + (part(rows, 1) * x if x else 0)
        for rows in range(2 if y else 1)
    ]
    return lines[0] * (_ONE - y) + (lines[1] * y if y else 0)


def _bin_of() -> NDArray[np.int64]:
    """Bin of each of the 256 patterns: uniform ones in rising order, then all others."""
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    uniform = (bits != np.roll(bits, 1, axis=1)).sum(axis=1) <= 2
    return np.where(uniform, np.cumsum(uniform) - 1, BINS - 1)


_BIN_OF = _bin_of()
