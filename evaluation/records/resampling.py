"""How well a value of many films together is known: intervals of FID and its kind.

Whole identities are drawn with replacement, each with its outputs and its driving films, and the
value is found anew. Fewer distinct vectors make a Fréchet distance larger, so that the draws lie
above the value and their percentiles would miss it. Their spread is as it should be: an interval is
the value, and Student's t times the standard deviation of the draws on either side. It tells how
far other people would move the value; of its bias, where there are few films, it says nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from evaluation.metrics.base import SetMetric, Statistics
from evaluation.records.statistics import reach


@dataclass(frozen=True)
class Kept:
    """What a set metric keeps of one film.

    Attributes:
        identity: Whom the film shows.
        statistics: Of its features.
    """

    identity: str
    statistics: Statistics


def together(parts: Iterable[Statistics]) -> Statistics:
    """All of them; there is one at least."""
    return reduce(lambda one, other: one.merged(other), parts)


def set_interval(
    metric: SetMetric,
    value: float,
    outputs: Sequence[Kept],
    reals: Sequence[Kept],
    *,
    seed: int = 0,
) -> tuple[float, float] | None:
    """95% interval of a set metric's value, clustered by identity.

    Args:
        metric: The metric; it says how many draws it can afford.
        value: Of all films.
        outputs: Films of a method.
        reals: Driving films, each once.
        seed: Of the draws.

    Returns:
        Both ends, inside the metric's range; None where the outputs show fewer than two identities,
        or where most draws have no value, as where they are too few for any.
    """
    clusters = len({each.identity for each in outputs})
    if clusters < 2 or not metric.draws:
        return None
    shown, held = _by_identity(outputs), _by_identity(reals)
    people = sorted(shown.keys() | held.keys())
    chances = np.full(len(people), 1 / len(people))
    draws = np.random.default_rng(seed).multinomial(len(people), chances, size=metric.draws)
    values = []
    for draw in draws:
        times = dict(zip(people, draw.tolist(), strict=True))
        one, other = _drawn(shown, times), _drawn(held, times)
        if one is None or other is None:  # portraits and drivers may be different people
            continue
        try:
            values.append(metric.redrawn(one, other))
        except ValueError:
            continue
    known = np.array([each for each in values if np.isfinite(each)])
    if 2 * len(known) <= metric.draws:
        return None
    half = reach(clusters) * float(known.std(ddof=1))
    least, most = metric.info.range
    return max(value - half, least), min(value + half, most)


def _by_identity(films: Sequence[Kept]) -> dict[str, Statistics]:
    """Statistics of each identity's films."""
    found: dict[str, list[Statistics]] = {}
    for film in films:
        found.setdefault(film.identity, []).append(film.statistics)
    return {whom: together(parts) for whom, parts in found.items()}


def _drawn(each: dict[str, Statistics], times: dict[str, int]) -> Statistics | None:
    """Statistics of a draw's identities, each as often as it was drawn; None of none."""
    parts = [each[whom] for whom, n in times.items() if whom in each for _ in range(n)]
    return together(parts) if parts else None
