"""The report of a benchmark as one HTML page that asks nothing of a network.

Films are played from files beside it; where all of them are small, they are put into the page.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.pages import write_page
from evaluation.plots import Plot
from evaluation.records.compare import compare
from evaluation.records.facts import CellFacts, MetricFacts, Mode
from evaluation.records.record import Record
from evaluation.records.statistics import PairedTest, paired_tests
from evaluation.report.figures import figures, legend
from evaluation.report.headline import TITLES, ablations, headline, parts
from evaluation.report.tables import EMBEDDED, INTERVALS, PUBLISHED, Ablation, Entry, Table
from evaluation.report.viewer import clip_name, viewer

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class ClipRow:
    """A cell in the table of clips.

    Attributes:
        cell: What was recorded of it.
        clip: Name of the driving clip, and of the portrait's where there is another.
        identity: Whom it shows.
        entries: A number for each metric.
        missing: Why there is none, by the metric's title.
        case: Number of its case in the viewer; None where it has no film.
    """

    cell: CellFacts
    clip: str
    identity: str
    entries: tuple[Entry, ...]
    missing: tuple[tuple[str, str], ...]
    case: int | None


@dataclass(frozen=True)
class TestRow:
    """A paired test, and how it is worded.

    Attributes:
        test: Its numbers.
        title: Of the metric.
        difference: First minus second.
        winner: The better one, where the difference is significant; else empty.
    """

    test: PairedTest
    title: str
    difference: Entry
    winner: str


@dataclass(frozen=True)
class Half:
    """All that is said of one mode."""

    mode: Mode
    title: str
    tables: list[Table]
    ablations: list[Ablation]
    tests: list[TestRow]
    metrics: list[MetricFacts]
    rows: list[ClipRow]
    plots: list[Plot]


def write_report_page(record: Record, out: Path, *, before: Record | None = None) -> Path:
    """Write the page.

    Args:
        record: All that is told; its films lie in the folder of ``out``. A film that is not there
            is left out.
        out: The HTML file to write.
        before: A previous record that this one is held against.

    Returns:
        ``out``.
    """
    films, numbers = viewer(record, out.parent)
    tests = paired_tests(record)
    return write_page(
        "report/report.html.j2",
        out,
        record=record,
        halves=[_half(record, mode, tests, numbers) for mode in record.modes()],
        keys=legend(record),
        viewer=films,
        comparison=None if before is None else compare(before, record),
        titles={metric.name: metric.title for metric in record.metrics},
        embedded=EMBEDDED,
        intervals=INTERVALS,
        published=PUBLISHED,
        significant=SIGNIFICANT,
        questions=_questions(record),
        settings=_pairs(record.protocol.settings),
        options={method.name: _pairs(method.options) for method in record.methods},
        entry=Entry,
    )


def _half(record: Record, mode: Mode, tests: list[PairedTest], numbers: Mapping[str, int]) -> Half:
    factors = ablations(record, mode)
    cells = [cell for cell in record.cells if cell.mode == mode]
    metrics = [m for m in record.metrics if any(m.name in cell.values for cell in cells)]
    return Half(
        mode,
        TITLES[mode],
        parts(headline(record, mode)),
        factors,
        [_test(record, test) for test in tests if test.mode == mode],
        metrics,
        [_row(record, cell, metrics, numbers) for cell in cells],
        figures(record, mode, factors),
    )


def _row(
    record: Record, cell: CellFacts, metrics: list[MetricFacts], numbers: Mapping[str, int]
) -> ClipRow:
    return ClipRow(
        cell,
        clip_name(record, cell),
        record.identity(cell),
        tuple(
            Entry(cell.values.get(metric.name), gaps=cell.gaps.get(metric.name, 0.0))
            for metric in metrics
        ),
        tuple((m.title, cell.missing[m.name]) for m in metrics if m.name in cell.missing),
        numbers.get(cell.case),
    )


def _test(record: Record, test: PairedTest) -> TestRow:
    metric = next(metric for metric in record.metrics if metric.name == test.metric)
    found = test.difference
    winner = ""
    if test.adjusted < SIGNIFICANT and found.value is not None:
        winner = test.first if (found.value > 0) == metric.higher_is_better else test.second
    title = f"{metric.title}{'†' if metric.grade == 'embedded' else ''}"
    return TestRow(test, title, Entry(found.value, found.low, found.high, found.n), winner)


def _questions(record: Record) -> list[tuple[str, int, float | None]]:
    """Each question of the study, the most people that rated a method, and how far they agree."""
    raters: dict[str, int] = {}
    for each in record.study:
        raters[each.question] = max(raters.get(each.question, 0), each.raters)
    agreement = {each.question: each.agreement for each in record.study}
    return [(question, number, agreement[question]) for question, number in raters.items()]


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in sorted(values.items())
    ]
