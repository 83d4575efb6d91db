"""Fréchet distance of infinitely many outputs, and when a finite one says little.

Chong and Forsyth, "Effectively unbiased FID and Inception Score and where to find them" (2020):
the expected distance of n outputs is linear in 1/n, with a slope of the method's own, so that
distances of few outputs are too large, and cannot even be compared. A line through the distances
of growing subsets meets 1/n = 0 at the distance without that bias.
"""

import math
from dataclasses import dataclass

import numpy as np

from evaluation.frechet.distance import Gaussian, frechet_distance
from evaluation.frechet.moments import Moments
from evaluation.frechet.samples import Samples

POINTS = 15
"""Subsets through whose distances the line goes; the paper's number."""

_SMALLEST = 2.5  # times the feature's numbers: about the paper's 5,000 for 2,048
_LEAST = 2 * _SMALLEST  # the same, for a line long enough to be a line


@dataclass(frozen=True)
class Extrapolation:
    """A line through distances of subsets.

    Attributes:
        value: Where it meets infinitely many.
        counts: Outputs of each subset.
        distances: Of each subset to all real ones.
    """

    value: float
    counts: tuple[int, ...]
    distances: tuple[float, ...]


def least_outputs(width: int) -> int:
    """Outputs that an extrapolation needs, for features of so many numbers."""
    return math.ceil(_LEAST * width)


def frechet_at_infinity(
    outputs: Samples, reals: Samples, *, ddof: int = 1, points: int = POINTS
) -> Extrapolation:
    """Fréchet distance to the real ones of infinitely many outputs.

    Subsets are the first of `Samples.rows`, which are in an order of chance: each contains the
    one before, so that all cost one pass and a distance each.

    Args:
        outputs: Features of a method's outputs.
        reals: Features of real ones; all of them are used.
        ddof: As in `Moments.covariance`.
        points: How many subsets; 2 at least.

    Raises:
        ValueError: There are fewer outputs than `least_outputs`.
    """
    least = least_outputs(outputs.width)
    if outputs.count < least:
        raise ValueError(
            f"{outputs.count} feature vectors are too few to extrapolate from; "
            f"with {outputs.width} numbers each, at least {least} are needed"
        )
    smallest = math.ceil(_SMALLEST * outputs.width)
    counts = np.linspace(smallest, outputs.count, points).round().astype(int)
    real = Gaussian.of_samples(reals, ddof)
    seen, distances = Moments.of(outputs.rows[:0]), []
    for begin, end in zip([0, *counts], counts, strict=False):
        seen = seen.merged(Moments.of(outputs.rows[begin:end]))
        distances.append(frechet_distance(Gaussian.of_moments(seen, ddof), real))
    # The line's value at 1/n = 0. Distances of infinitely many can be no less than 0.
    _, value = np.polyfit(1 / counts, distances, 1)
    return Extrapolation(max(float(value), 0.0), tuple(map(int, counts)), tuple(distances))


def too_few(outputs: int, reals: int, width: int) -> str:
    """Why a Fréchet distance of so many should not be trusted; empty where it may be.

    Args:
        outputs: Feature vectors of a method.
        reals: Real ones.
        width: Numbers of a vector.
    """
    fewest = min(outputs, reals)
    if fewest <= width:
        return (
            f"{fewest} feature vectors of {width} numbers: their covariance is singular, "
            "and the distance is mostly the bias of few samples"
        )
    if fewest < least_outputs(width):
        return (
            f"{fewest} feature vectors of {width} numbers: the bias of few samples is large; "
            "compare only methods with as many"
        )
    return ""
