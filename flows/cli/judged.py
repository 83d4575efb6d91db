"""Benchmarks on a terminal: what there is, what was found, what changed."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from flows.cli.common import console, show_table, stderr
from infra.errors import UsageError

if TYPE_CHECKING:
    from evaluation.methods.base import Mode
    from evaluation.records.compare import Comparison
    from evaluation.records.record import Record

_VERDICTS = ("better", "same", "worse", "unjudged")


def show_run(told: Mapping[str, Any]) -> None:
    """Print what became of a benchmark, as `flows.benchmark.benchmark_methods` tells it."""
    from evaluation.records.record import read_record

    show_table(told["methods"])
    for what, key in (
        ("could not run", "unavailable"),
        ("failed, the first time because", "reasons"),
        ("left out", "left_out"),
        ("not measured", "unmeasured"),
    ):
        for name, reason in told[key].items():
            console.print(f"{name}: {what}: {reason}", markup=False, soft_wrap=True)
    console.print()
    show_findings(read_record(Path(told["record"])))
    show_worse(told["worse"])


def show_findings(record: "Record") -> None:
    """Print a record's means: a row a metric, a column a method."""
    from evaluation.records.statistics import summary

    sets = {(e.mode, e.method, e.metric): e.value for e in record.sets}
    names = [
        method.name
        for method in record.methods
        if any(cell.outcome == "done" for cell in record.cells if cell.method == method.name)
    ]
    for mode in record.modes():
        rows = []
        for metric in record.metrics:
            values = [
                sets.get((mode, name, metric.name), summary(record, mode, name, metric.name).value)
                for name in names
            ]
            if any(value is not None for value in values):
                better = "more" if metric.higher_is_better else "less"
                title = metric.title + (" (stand-in)" if metric.grade == "embedded" else "")
                shown = ["-" if value is None else f"{value:.4g}" for value in values]
                rows.append(
                    {"metric": title, "better": better, **dict(zip(names, shown, strict=True))}
                )
        show_table(rows, title="" if len(record.modes()) == 1 else mode)


def votes(record: "Record") -> int:
    """Votes in a record, of all methods and questions."""
    return sum(each.votes for each in record.study)


def show_comparison(comparison: "Comparison") -> None:
    """Print what is better and worse, how much is not, and what is lost."""
    counts: Counter[str] = Counter(change.verdict for change in comparison.changes)
    moved = [change for change in comparison.changes if change.verdict in ("better", "worse")]
    show_table(
        [
            {
                "method": change.method,
                "metric": change.metric,
                "before": "-" if change.before is None else f"{change.before:.4g}",
                "after": "-" if change.after is None else f"{change.after:.4g}",
                "verdict": change.verdict,
                "why": change.reason,
            }
            for change in moved
        ]
    )
    console.print(", ".join(f"{counts[word]} {word}" for word in _VERDICTS))
    if not comparison.judged:
        console.print("nothing could be compared: no method, clip and metric is in both records")
    for line in comparison.lost:
        console.print(f"lost: {line}", markup=False, soft_wrap=True)


def show_worse(lines: list[str]) -> None:
    """Print what is worse than before on standard error."""
    for line in lines:
        stderr.print(f"[red]worse:[/red] {escape(line)}", soft_wrap=True)


def metric_rows(keys: list[str], mode: "Mode | None" = None) -> list[dict[str, str]]:
    """A row for each value that is measured, and for each metric that cannot be."""
    from evaluation.makers import made
    from evaluation.metrics.registry import choose

    chosen = choose(keys, mode)
    infos = [made(maker).info for maker in chosen.makers]
    rows = [
        {"metric": info.name, "grade": info.grade, "estimator": info.estimator} for info in infos
    ]
    return rows + [
        {"metric": key, "grade": "-", "estimator": f"not here: {reason}"}
        for key, reason in chosen.left_out.items()
    ]


def benchmark_row(name: str, path: Path) -> dict[str, Any]:
    """A benchmark of the lake; one that cannot be read any more hides no other."""
    from evaluation.records.record import read_record

    try:
        record = read_record(path)
    except UsageError as error:
        told = {"protocol": "-", "methods": error.message, "films": 0, "not done": 0}
        return {"name": name, **told}
    done = sum(cell.outcome == "done" for cell in record.cells)
    return {
        "name": name,
        "protocol": record.protocol.name,
        "methods": ", ".join(method.name for method in record.methods),
        "films": done,
        "not done": len(record.cells) - done,
    }


def method_row(name: str, lake: Path) -> dict[str, str]:
    """A method, what it does, and whether it can be used here."""
    from evaluation.methods.registry import METHODS, make_method

    fields = METHODS[name].options.model_fields
    told = [key for key, field in fields.items() if field.is_required()]
    if told:
        words = " ".join(f"--option {name}.{key}=..." for key in told)
        return {"name": name, "does": "as it is told", "here": f"with {words}"}
    method = make_method(name, {"lake": str(lake.absolute())} if "lake" in fields else {})
    does = ", ".join(sorted(method.modes, reverse=True))
    return {"name": name, "does": does, "here": method.unavailable() or "yes"}
