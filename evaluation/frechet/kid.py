"""Kernel distance of two sets of features: squared maximum mean discrepancy, over subsets.

Bińkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs" (2018), with the kernel
(x.y / d + 1)^3. What is drawn and summed is what torch-fidelity draws and sums.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 2020
"""Of the draw of subsets; torch-fidelity's."""


@dataclass(frozen=True)
class KernelDistance:
    """Squared discrepancies of subsets.

    Attributes:
        values: One for each pair of subsets. Unbiased, so that they may be negative.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean: what is reported."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Their standard deviation (divided by the number of subsets)."""
        return float(np.std(self.values))


def kernel_distance(
    outputs: NDArray[Any], reals: NDArray[Any], *, subsets: int = 100, size: int = 1000
) -> KernelDistance:
    """Kernel distance of two sets of feature vectors.

    Args:
        outputs: (n, d).
        reals: (m, d).
        subsets: How many pairs of subsets are drawn.
        size: Vectors in each.

    Raises:
        ValueError: Vectors differ in length, or there are fewer than ``size`` of either.
    """
    if outputs.shape[1] != reals.shape[1]:
        raise ValueError(
            f"features of {outputs.shape[1]} and of {reals.shape[1]} numbers cannot be compared"
        )
    fewest = min(len(outputs), len(reals))
    if not 2 <= size <= fewest:
        raise ValueError(f"subsets of {size} cannot be drawn from {fewest} feature vectors")
    draw = np.random.RandomState(SEED)
    values = []
    for _ in range(subsets):
        one = outputs[draw.choice(len(outputs), size, replace=False)]
        other = reals[draw.choice(len(reals), size, replace=False)]
        values.append(polynomial_mmd2(one, other))
    return KernelDistance(tuple(values))


def polynomial_mmd2(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Unbiased estimate of the squared discrepancy of two sets (m, d) of the same size.

    Raises:
        ValueError: They are no two sets of at least two vectors, or of different shapes.
    """
    if one.shape != other.shape or len(one) < 2:
        raise ValueError(f"two sets of the same size, at least 2, not {one.shape}, {other.shape}")
    one, other = one.astype(np.float64), other.astype(np.float64)
    size = len(one)
    # A vector's kernel with itself says nothing of its set, and would bias the means.
    within = sum(
        kernel.sum() - np.trace(kernel) for kernel in (_kernel(one, one), _kernel(other, other))
    )
    between = _kernel(one, other).sum()
    return float(within / (size * (size - 1)) - 2 * between / size**2)


def _kernel(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    affine: NDArray[np.float64] = one @ other.T / one.shape[1] + 1
    return affine * affine * affine  # a power would take several times as long
