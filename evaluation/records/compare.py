"""Whether a record is worse than the one before: by intervals, on the same cases."""

import json
from dataclasses import dataclass
from typing import Literal

from evaluation.records.facts import CellFacts, MetricFacts, Mode, SetFacts
from evaluation.records.record import Record
from evaluation.records.statistics import Estimate, estimate, summary

Verdict = Literal["better", "same", "worse", "unjudged"]

NEGLIGIBLE = 0.1
"""Share of the half width of the previous value's own interval that a mean may move before it is
said to have changed. Else a change of the last digits, alike in all clips, would count."""


@dataclass(frozen=True)
class Change:
    """What became of one number.

    Attributes:
        mode: What was done.
        method: Name of the method.
        metric: Name of the metric.
        before: The previous value; None where there was none.
        after: The new one.
        verdict: `worse` is a regression; `unjudged` where the two cannot be compared.
        reason: Of the verdict, in words.
    """

    mode: Mode
    method: str
    metric: str
    before: float | None
    after: float | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Two records side by side.

    Attributes:
        changes: One for each method and metric that both records have.
        lost: Methods that are not judged any more; and cells that were done before and are not
            now: method, clip and light, and why.
    """

    changes: tuple[Change, ...]
    lost: tuple[str, ...]

    @property
    def judged(self) -> bool:
        """Whether any number could be held against the one before."""
        return any(change.verdict != "unjudged" for change in self.changes)

    @property
    def regressed(self) -> bool:
        """Whether anything is worse, or lost."""
        return bool(self.lost) or any(change.verdict == "worse" for change in self.changes)


def compare(before: Record, after: Record) -> Comparison:
    """Hold a record against a previous one.

    A clip metric is judged by the mean change on the cases of both, with its clustered interval;
    a set metric by whether the new value lies outside of the previous one's interval. What another
    estimator measured, or stands on other films, is not judged.

    Args:
        before: The previous record.
        after: The new one.

    Returns:
        The changes, in the order of the new record's tables.
    """
    olds = {metric.name: metric for metric in before.metrics}
    methods = {method.name for method in before.methods}
    changes: list[Change] = []
    for mode in after.modes():
        for method in (method.name for method in after.methods if method.name in methods):
            for metric in (metric for metric in after.metrics if metric.name in olds):
                same = _measures(olds[metric.name]) == _measures(metric)
                change = _set_change(before, after, mode, method, metric, same) or _clip_change(
                    before, after, mode, method, metric, same
                )
                if change is not None:
                    changes.append(change)
    return Comparison(tuple(changes), _lost(before, after))


def _measures(metric: MetricFacts) -> tuple[str, str, str]:
    return metric.estimator, metric.grade, json.dumps(metric.weights, sort_keys=True)


def _clip_change(
    before: Record, after: Record, mode: Mode, method: str, metric: MetricFacts, same: bool
) -> Change | None:
    old, new = _done(before, mode, method, metric.name), _done(after, mode, method, metric.name)
    if not old and not new:
        return None
    then, now = (summary(record, mode, method, metric.name) for record in (before, after))

    def change(verdict: Verdict, reason: str) -> Change:
        return Change(mode, method, metric.name, then.value, now.value, verdict, reason)

    if not same:
        return change("unjudged", "another estimator measured it")
    both = [case for case in old if case in new]
    if not both:
        return change("unjudged", "no case is in both records")
    moved = [new[case].values[metric.name] - old[case].values[metric.name] for case in both]  # type: ignore[operator]
    difference = estimate(moved, [after.identity(new[case]) for case in both])
    if not any(moved):
        return change("same", f"the same on all {len(both)} cases")
    if difference.low is None or difference.high is None or difference.value is None:
        return change("unjudged", "fewer than two identities: no interval")
    told = f"{difference.value:+.3g} [{difference.low:+.3g}, {difference.high:+.3g}]"
    told += f" on {len(both)} cases"
    if difference.low <= 0 <= difference.high:
        return change("same", f"{told}: the interval holds zero")
    if abs(difference.value) < NEGLIGIBLE * _half_width(then):
        return change("same", f"{told}: a tenth of the previous interval is not reached")
    better = (difference.value > 0) == metric.higher_is_better
    return change("better" if better else "worse", told)


def _set_change(
    before: Record, after: Record, mode: Mode, method: str, metric: MetricFacts, same: bool
) -> Change | None:
    old, new = (_set(record, mode, method, metric.name) for record in (before, after))
    if old is None or new is None:
        return None

    def change(verdict: Verdict, reason: str) -> Change:
        return Change(mode, method, metric.name, old.value, new.value, verdict, reason)

    if not same:
        return change("unjudged", "another estimator measured it")
    if old.value is None or new.value is None:
        return change("unjudged", "one of them has no value")
    if old.value == new.value:
        return change("same", "the same value")
    if (old.n, old.reals) != (new.n, new.reals):
        return change("unjudged", f"{new.n} outputs now, {old.n} before: it depends on how many")
    if old.low is None or old.high is None:
        return change("unjudged", "the previous value has no interval")
    told = f"the previous interval is [{old.low:.4g}, {old.high:.4g}]"
    if old.low <= new.value <= old.high:
        return change("same", told)
    better = (new.value > old.value) == metric.higher_is_better
    return change("better" if better else "worse", told)


def _done(record: Record, mode: Mode, method: str, metric: str) -> dict[str, CellFacts]:
    return {
        cell.case: cell
        for cell in record.cells
        if (cell.mode, cell.method) == (mode, method) and cell.values.get(metric) is not None
    }


def _set(record: Record, mode: Mode, method: str, metric: str) -> SetFacts | None:
    key = (mode, method, metric)
    return next((e for e in record.sets if (e.mode, e.method, e.metric) == key), None)


def _half_width(value: Estimate) -> float:
    return 0.0 if value.low is None or value.high is None else (value.high - value.low) / 2


def _lost(before: Record, after: Record) -> tuple[str, ...]:
    done = {(cell.method, cell.case) for cell in before.cells if cell.outcome == "done"}
    here = {method.name for method in after.methods}
    gone = sorted({method for method, _ in done} - here)
    return tuple(f"{method}: it is not judged any more" for method in gone) + tuple(
        f"{cell.method} on {after.clip(cell.clip).name}"
        f"{f' under {cell.light}' if cell.light else ''}: {cell.reason or cell.outcome}"
        for cell in after.cells
        if cell.outcome != "done" and (cell.method, cell.case) in done
    )
