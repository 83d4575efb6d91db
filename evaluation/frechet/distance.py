"""The Fréchet distance of two sets of features, each taken for a normal distribution.

Dowson and Landau, "The Fréchet distance between multivariate normal distributions" (1982), as
Heusel et al. use it (FID, 2017): |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

With roots R R^T = C the last trace is the nuclear norm of R1^T R2: the sum of its singular
values. No square root of a matrix that is not symmetric is needed, which is slow, and complex
where a covariance is singular. Where there are fewer vectors than numbers in one, the centred
vectors themselves are the root, and the singular values are those of a small matrix.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky  # type: ignore[import-untyped]

from evaluation.frechet.moments import Moments
from evaluation.frechet.samples import Samples

_ROUNDING = 1e-11  # relative, which a nuclear norm may have by the faster way
_ROUGH = 1e-5  # the same where that is good enough


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal distribution.

    Attributes:
        mean: (d,).
        root: (d, r), with ``root @ root.T`` the covariance; r at most d.
    """

    mean: NDArray[np.float64]
    root: NDArray[np.float64]

    @classmethod
    def of_covariance(cls, mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> Self:
        """Of a mean (d,) and a covariance (d, d)."""
        root: NDArray[np.float64]
        try:
            # SciPy's takes three quarters of the time of NumPy's.
            root = np.asarray(cholesky(covariance, lower=True, check_finite=False), np.float64)
        except np.linalg.LinAlgError:  # singular, or negative by rounding
            values, vectors = np.linalg.eigh(covariance)
            root = vectors * np.sqrt(np.maximum(values, 0))
        return cls(mean, root)

    @classmethod
    def of_moments(cls, moments: Moments, ddof: int = 1) -> Self:
        """Of exact sums; ``ddof`` as in `Moments.covariance`."""
        return cls.of_covariance(moments.mean, moments.covariance(ddof))

    @classmethod
    def of_rows(cls, rows: NDArray[Any], ddof: int = 1) -> Self:
        """Of feature vectors (n, d), best fewer than d; ``ddof`` as in `Moments.covariance`.

        Raises:
            ValueError: There are no more vectors than ``ddof``.
        """
        if len(rows) <= ddof:
            raise ValueError(
                f"{len(rows)} feature vectors have no covariance; at least {ddof + 1} have"
                " (a frame gives one, or a whole clip of frames)"
            )
        rows = rows.astype(np.float64)
        mean = rows.mean(axis=0)
        return cls(mean, (rows - mean).T / np.sqrt(len(rows) - ddof))

    @classmethod
    def of_samples(cls, samples: Samples, ddof: int = 1) -> Self:
        """Of samples, by the shorter way: the same bits however they were merged.

        Raises:
            ValueError: There are no more vectors than ``ddof``.
        """
        rows = samples.rows
        if samples.count <= samples.width:
            return cls.of_rows(rows, ddof)
        return cls.of_moments(Moments.of(rows), ddof)

    @classmethod
    def of_weighted(cls, samples: Samples, ddof: int = 1) -> Self:
        """Of samples, each table once with its weight: fast, not the same bits in every order.

        Raises:
            ValueError: There are no more vectors than ``ddof``.
        """
        if samples.count <= ddof:
            raise ValueError(f"{samples.count} feature vectors have no covariance")
        rows, counts = samples.weighted
        weights = counts[:, None] / counts.sum()
        mean = (weights * rows).sum(axis=0)
        root = np.sqrt(weights * (samples.count / (samples.count - ddof))) * (rows - mean)
        if len(rows) <= samples.width:
            return cls(mean, root.T)
        return cls.of_covariance(mean, root.T @ root)


def frechet_distance(one: Gaussian, other: Gaussian, *, rough: bool = False) -> float:
    """Squared Fréchet distance, 0 or more: what FID and FVD are.

    Args:
        one: A distribution.
        other: Another one.
        rough: Five digits of its trace are enough; many times as fast where there are fewer
            vectors than numbers in one.

    Raises:
        ValueError: Their features differ in number.
    """
    if one.mean.shape != other.mean.shape:
        raise ValueError(
            f"features of {len(one.mean)} and of {len(other.mean)} numbers cannot be compared"
        )
    apart = float(np.sum((one.mean - other.mean) ** 2))
    spread = float(np.sum(one.root**2) + np.sum(other.root**2))
    # What falls below zero is rounding: of two sets that are the same.
    norm = _nuclear_norm(one.root.T @ other.root, _ROUGH if rough else _ROUNDING)
    return max(apart + spread - 2 * norm, 0.0)


def _nuclear_norm(matrix: NDArray[np.float64], allowed: float = _ROUNDING) -> float:
    """Sum of the singular values, with that relative error at most by the faster way.

    Of a square matrix, as two covariances of full rank make it, they are found as roots of the
    eigenvalues of its Gram matrix, in half the time; of any, where the error may be larger. That
    costs the small ones their digits: where they count, the slower way is taken.
    """
    rows, columns = matrix.shape
    if rows == columns or allowed > _ROUNDING:
        wide = rows < columns
        squares = np.linalg.eigvalsh(matrix @ matrix.T if wide else matrix.T @ matrix)
        rounding = np.finfo(np.float64).eps * max(squares[-1], 0.0)  # of each, either way
        roots = np.sqrt(np.maximum(squares, rounding))
        norm = float(roots.sum())
        if rounding and np.linalg.norm(rounding / roots) <= allowed * norm:
            return norm
    return float(np.linalg.svd(matrix, compute_uv=False).sum())
