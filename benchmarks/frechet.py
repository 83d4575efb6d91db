"""Fréchet distance of features as Inception's in number, beside the way by ``sqrtm``.

    python benchmarks/frechet.py [--width 2048] [--count 4000] [--rounds 3]

Both begin with two means and covariances, as pytorch-fid does, on one thread; features are random,
with variances that fall as a power law. Prints one JSON line, and keeps it in
benchmarks/results/frechet.json:

- ``sqrtm_s``: seconds by ``scipy.linalg.sqrtm`` of the product of the covariances;
- ``ours_s``: seconds by roots and a nuclear norm; ``ratio`` of the two;
- ``difference``: between the two distances, relative;
- ``moments_s``: what one set's exact sums and its covariance cost, which has no part in the above;
- ``numpy_s``: the same by ``numpy.mean`` and ``numpy.cov``.
"""

import argparse

import parts.one_thread  # noqa: F401 - before NumPy, whose BLAS reads the environment once

import numpy as np  # isort: skip
from numpy.typing import NDArray
from parts.results import keep
from parts.timing import best_seconds
from scipy.linalg import sqrtm

from evaluation.frechet.distance import Gaussian, frechet_distance
from evaluation.frechet.moments import Moments

Normal = tuple[NDArray[np.float64], NDArray[np.float64]]


def features(seed: int, count: int, width: int) -> NDArray[np.float32]:
    """Correlated features (count, width) around a mean of their own."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, width + 1) ** -0.5
    mixed = np.linalg.qr(np.random.default_rng(0).standard_normal((width, width)))[0]
    drawn = rng.standard_normal((count, width)) * spread + 0.1 * rng.random(width)
    return (drawn @ mixed).astype(np.float32)


def moments(rows: NDArray[np.float32]) -> Normal:
    """Mean and covariance by exact sums."""
    seen = Moments.of(rows)
    return seen.mean, seen.covariance()


def plain_moments(rows: NDArray[np.float32]) -> Normal:
    """Mean and covariance by NumPy."""
    wide = rows.astype(np.float64)
    return wide.mean(axis=0), np.cov(wide, rowvar=False)


def ours(one: Normal, other: Normal) -> float:
    """By the roots of both covariances."""
    return frechet_distance(Gaussian.of_covariance(*one), Gaussian.of_covariance(*other))


def by_sqrtm(one: Normal, other: Normal) -> float:
    """By the root of their product, as the published programs do."""
    (mean1, cov1), (mean2, cov2) = one, other
    trace = np.trace(cov1) + np.trace(cov2) - 2 * np.trace(sqrtm(cov1 @ cov2)).real
    return float(np.sum((mean1 - mean2) ** 2) + trace)


def main() -> None:
    """Time both ways."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = [features(seed, options.count, options.width) for seed in (1, 2)]
    one, other = map(moments, rows)
    values: dict[str, float] = {}

    def note(name: str, value: float) -> None:
        values[name] = value

    ours_s, sqrtm_s = best_seconds(
        options.rounds,
        lambda: note("ours", ours(one, other)),
        lambda: note("sqrtm", by_sqrtm(one, other)),
    )
    moments_s, numpy_s = best_seconds(
        options.rounds, lambda: moments(rows[0]), lambda: plain_moments(rows[0])
    )
    keep(
        {
            "benchmark": "frechet",
            "width": options.width,
            "count": options.count,
            "sqrtm_s": round(sqrtm_s, 2),
            "ours_s": round(ours_s, 2),
            "ratio": round(sqrtm_s / ours_s, 1),
            "difference": abs(values["ours"] / values["sqrtm"] - 1),
            "moments_s": round(moments_s, 2),
            "numpy_s": round(numpy_s, 2),
        }
    )


if __name__ == "__main__":
    main()
