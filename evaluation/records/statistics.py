"""What may be concluded from a record: means with intervals, paired tests, Holm's correction.

Clips of one person are not independent, so identities, not clips, are drawn and flipped. All draws
are seeded and do not depend on the order of the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit  # type: ignore[import-untyped]

from evaluation.records.facts import Mode
from evaluation.records.record import Record

LEVEL = 0.95
_DRAWS = 4000
_FEW = 10
"""Identities below which drawing them again reaches no further than the outermost of them."""
_EXACT = 14
"""Most identities whose flips are all tried: 2**14."""
_FLIPS = 20_000


@dataclass(frozen=True)
class Estimate:
    """A mean and how well it is known.

    Attributes:
        value: The mean; None where there is no value at all.
        low: Lower end of its 95% interval; None where it cannot be estimated.
        high: Upper end.
        n: Values that it stands on.
        missing: Values that were not there: NaN, or the cell failed.
        clusters: Identities.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int
    clusters: int


@dataclass(frozen=True)
class PairedTest:
    """Two methods on the cases that both have done.

    Attributes:
        mode: What they did.
        metric: Name of the metric.
        first: Name of a method.
        second: Name of another.
        difference: Mean of first minus second, over cases, with its interval.
        p: Two-sided, of the clustered sign-flip test.
        adjusted: After Holm's correction over all tests of the record.
    """

    mode: Mode
    metric: str
    first: str
    second: str
    difference: Estimate
    p: float
    adjusted: float


def estimate(
    values: Sequence[float | None], identities: Sequence[str], *, seed: int = 0
) -> Estimate:
    """Mean of values, with a bootstrap interval clustered by identity.

    Whole identities are drawn with replacement, and the mean is taken over all of their values.
    The percentiles are those of Hesterberg (2015, "What Teachers Should Know About the Bootstrap",
    expanded percentile interval): moved out by Student's t. Of fewer than ten identities the
    bootstrap's intervals are too narrow whatever the percentiles; they get Student's t on the
    cluster-robust standard error instead.

    Args:
        values: One a case; None or NaN where there is none.
        identities: Whom each shows.
        seed: Of the draws.

    Returns:
        Without an interval where there are fewer than two identities.
    """
    sums, counts = _clusters(values, identities)
    n, missing, clusters = int(counts.sum()), len(values) - int(counts.sum()), len(counts)
    if not n:
        return Estimate(None, None, None, 0, missing, 0)
    value = float(sums.sum() / n)
    if clusters < 2:
        return Estimate(value, None, None, n, missing, clusters)
    if clusters < _FEW:
        half = reach(clusters) * float(np.sqrt(np.sum((sums - value * counts) ** 2)) / n)
        return Estimate(value, value - half, value + half, n, missing, clusters)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=_DRAWS)
    # Not a matrix product: that may add in another order on another machine.
    means = (drawn * sums).sum(axis=1) / (drawn * counts).sum(axis=1)
    tail = float(ndtr(-reach(clusters)))
    low, high = np.quantile(means, (tail, 1 - tail))
    return Estimate(value, float(low), float(high), n, missing, clusters)


def reach(clusters: int) -> float:
    """Half an interval's width, in standard deviations of the bootstrap over so many identities.

    It is Student's t, and makes good that the bootstrap's own variance is too small by a factor of
    1 - 1 / clusters.

    Args:
        clusters: Identities; 2 at least.
    """
    return float(-stdtrit(clusters - 1, (1 - LEVEL) / 2) * np.sqrt(clusters / (clusters - 1)))


def sign_flip(differences: Sequence[float], identities: Sequence[str], *, seed: int = 0) -> float:
    """Two-sided p of a permutation test: are paired differences as likely negative as positive?

    An identity's differences are flipped together, so that its clips need not be independent. All
    flips are tried for up to 14 identities; beyond, 20,000 seeded ones, counting the observed one
    (Phipson and Smyth, 2010), so that p is never zero.

    Args:
        differences: One a case.
        identities: Whom each shows.
        seed: Of the flips.

    Returns:
        1 where there are no differences.
    """
    sums, _ = _clusters(differences, identities)
    observed = abs(sums.sum())
    if observed == 0:
        return 1.0
    # The observed one itself may round otherwise in another order of adding.
    bar = observed * (1 - 1e-12)
    if len(sums) <= _EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=len(sums))))
        return float(np.mean(np.abs((signs * sums).sum(axis=1)) >= bar))
    generator = np.random.default_rng(seed)
    beyond = 0
    for _ in range(20):
        signs = 1 - 2.0 * generator.integers(2, size=(_FLIPS // 20, len(sums)), dtype=np.int8)
        beyond += int(np.sum(np.abs((signs * sums).sum(axis=1)) >= bar))
    return (beyond + 1) / (_FLIPS + 1)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): adjusted p in the order given, at most 1.

    Args:
        p: Of each test of a family.
    """
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, float)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    values: list[float] = adjusted.tolist()
    return values


def summary(record: Record, mode: Mode, method: str, metric: str) -> Estimate:
    """Mean of a clip metric over a method's cells; failed ones count as missing.

    An interval goes no further than the metric can: Student's t over two people knows no bounds.
    """
    cells = [cell for cell in record.cells if (cell.method, cell.mode) == (method, mode)]
    found = estimate(
        [cell.values.get(metric) for cell in cells], [record.identity(cell) for cell in cells]
    )
    least, most = next((each.range for each in record.metrics if each.name == metric), (None, None))
    low = found.low if found.low is None or least is None else max(found.low, least)
    high = found.high if found.high is None or most is None else min(found.high, most)
    return replace(found, low=low, high=high)


def gaps(record: Record, mode: Mode, method: str, metric: str) -> float:
    """Share of frames without a value, in 0..1: its mean over the cells that have a mean."""
    shares = [
        cell.gaps.get(metric, 0.0)
        for cell in record.cells
        if (cell.method, cell.mode) == (method, mode) and cell.values.get(metric) is not None
    ]
    return sum(shares) / len(shares) if shares else 0.0


def paired_tests(record: Record) -> list[PairedTest]:
    """Every two methods on every clip metric, on the cases that both have done.

    Pairs that have fewer than two identities in common are left out.
    """
    found: list[tuple[Mode, str, str, str, Estimate, float]] = []
    for mode in record.modes():
        cells = [cell for cell in record.cells if cell.mode == mode]
        identities = {cell.case: record.identity(cell) for cell in cells}
        for metric in record.metrics:
            values = {
                (cell.method, cell.case): value
                for cell in cells
                if (value := cell.values.get(metric.name)) is not None
            }
            for first, second in combinations([method.name for method in record.methods], 2):
                both = [c for c in identities if (first, c) in values and (second, c) in values]
                differences = [values[first, case] - values[second, case] for case in both]
                whom = [identities[case] for case in both]
                difference = estimate(differences, whom)
                if difference.clusters > 1:
                    p = sign_flip(differences, whom)
                    found.append((mode, metric.name, first, second, difference, p))
    adjusted = holm([p for *_, p in found])
    return [PairedTest(*each, q) for each, q in zip(found, adjusted, strict=True)]


def _clusters(
    values: Sequence[float | None], identities: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and count of each identity's values, in an order that is not that of the rows."""
    groups: dict[str, list[float]] = {}
    for value, identity in zip(values, identities, strict=True):
        if value is not None and not np.isnan(value):
            groups.setdefault(identity, []).append(value)
    ordered = [sorted(groups[identity]) for identity in sorted(groups)]
    sums = np.array([np.sum(group) for group in ordered], float)
    return sums, np.array([len(group) for group in ordered], float)
