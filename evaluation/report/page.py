"""The report of a benchmark as one HTML page that asks nothing of a network.

Films are played from files beside it; where all of them are small, they are put into the page.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.pages import write_page
from evaluation.plots import Plot
from evaluation.records.compare import compare
from evaluation.records.facts import CellFacts, ClipFacts, MetricFacts, Mode
from evaluation.records.record import Record
from evaluation.records.statistics import PairedTest, paired_tests
from evaluation.report.figures import figures, legend
from evaluation.report.headline import TITLES, ablations, headline, parts
from evaluation.report.tables import EMBEDDED, INTERVALS, PUBLISHED, Ablation, Entry, Table
from evaluation.report.viewer import clip_name, viewer

SIGNIFICANT = 0.05

NAMED_LIGHTS = 6
"""So many lights are named in the page's heading; of more it only says how many."""


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
class Failure:
    """A method's films that were not made.

    Attributes:
        method: Its name.
        outcome: How they ended.
        films: How many ended so.
        asked: How many were asked for.
        clip: The first one's.
        reason: The first one's.
        reasons: How many different ones there are.
    """

    method: str
    outcome: str
    films: int
    asked: int
    clip: str
    reason: str
    reasons: int


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
    lit: bool
    failures: list[Failure]
    plots: list[Plot]
    further: list[Plot]


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
        driving=_driving(record),
        judged=_judged(record),
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
    tables = parts(headline(record, mode))
    main = {column.key for column in tables[0].columns}
    cells = [cell for cell in record.cells if cell.mode == mode]
    metrics = [m for m in record.metrics if any(m.name in cell.values for cell in cells)]
    return Half(
        mode,
        TITLES[mode],
        tables,
        factors,
        [_test(record, test) for test in tests if test.mode == mode],
        metrics,
        [_row(record, cell, metrics, numbers) for cell in cells],
        any(cell.light for cell in cells),
        _failures(record, cells),
        *figures(record, mode, factors, main),
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


def _failures(record: Record, cells: list[CellFacts]) -> list[Failure]:
    asked = Counter(cell.method for cell in cells)
    grouped: dict[tuple[str, str], list[CellFacts]] = {}
    for cell in cells:
        if cell.outcome != "done":
            grouped.setdefault((cell.method, cell.outcome), []).append(cell)
    return [
        Failure(
            method,
            outcome,
            len(failed),
            asked[method],
            _case_name(record, failed[0]),
            failed[0].reason,
            len({cell.reason for cell in failed}),
        )
        for (method, outcome), failed in grouped.items()
    ]


def _case_name(record: Record, cell: CellFacts) -> str:
    return f"{clip_name(record, cell)}{f', light {cell.light}' if cell.light else ''}"


def _driving(record: Record) -> list[ClipFacts]:
    """The clips that methods were given to relight or to drive a portrait."""
    named = {cell.clip for cell in record.cells}
    return [clip for clip in record.clips if clip.id in named] or list(record.clips)


def _judged(record: Record) -> list[str]:
    """On what the methods were really judged, which a protocol's own words need not say."""
    told = []
    frames = [clip.frames for clip in _driving(record)]
    if frames:
        least, most = min(frames), max(frames)
        spread = f"{least}" if least == most else f"{least} to {most}"
        told.append(f"{spread} frame{'s' if most > 1 else ''} a clip")
    told.append(f"{record.protocol.size}×{record.protocol.size} pixels")
    lights = list(dict.fromkeys(cell.light for cell in record.cells if cell.light))
    if len(lights) > NAMED_LIGHTS:
        told.append(f"{len(lights)} lights")
    elif lights:
        told.append(f"light{'s' if len(lights) > 1 else ''} {', '.join(lights)}")
    portraits = len({cell.reference for cell in record.cells if cell.reference})
    if portraits:
        told.append(f"{portraits} portrait{'s' if portraits > 1 else ''}")
    return told


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
