"""The tables of a record: all methods on all metrics, and its ablations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from evaluation.records.facts import Mode
from evaluation.records.published import TABLES
from evaluation.records.record import Record
from evaluation.records.statistics import gaps, summary
from evaluation.report.tables import Ablation, Column, Entry, Line, Table

TITLES: dict[Mode, str] = {"relight": "Relighting", "animate": "Portrait animation"}


PAPER = ("LE", "ID", "LPIPS", "IQ", "VQ", "FID", "FVD", "POSE")
"""How the paper calls its metrics. A stand-in's title begins with the same word."""


def all_tables(record: Record) -> list[Table]:
    """Headline tables, each followed by its ablations, a line a value of the factor."""
    return [
        table
        for mode in record.modes()
        for table in (
            *parts(headline(record, mode)),
            *(ablation.labelled for ablation in ablations(record, mode)),
        )
    ]


def headline(record: Record, mode: Mode) -> Table:
    """All methods on all metrics.

    Args:
        record: Of the benchmark.
        mode: Which half of it.
    """
    sets = {(each.method, each.metric): each for each in record.sets if each.mode == mode}
    votes = {(each.method, each.question): each for each in record.study}
    measured = {metric for cell in record.cells if cell.mode == mode for metric in cell.values}
    wholes = {metric for _, metric in sets}
    columns = [
        Column(
            metric.name,
            metric.title,
            metric.higher_is_better,
            metric.grade == "embedded",
            metric.unit,
            metric.estimator,
            metric.definition,
            "" if metric.grade == "embedded" else metric.published,
            metric.name in wholes,
        )
        for metric in record.metrics
        if metric.name in measured | wholes
    ]
    questions = list(dict.fromkeys(question for _, question in votes))
    asked = [
        Column(question, question, True, definition="Mean of the votes, from 1 to 5.")
        for question in questions
    ]

    gone = {method.name for method in record.methods if method.unavailable}

    def entry(method: str, column: Column) -> Entry:
        if method in gone:
            return Entry()
        if (method, column.key) in sets:
            found = sets[method, column.key]
            return Entry(
                found.value,
                found.low,
                found.high,
                found.n,
                warning=found.warning,
                draws=found.draws,
            )
        mean = summary(record, mode, method, column.key)
        lacking = gaps(record, mode, method, column.key)
        return Entry(mean.value, mean.low, mean.high, mean.n, mean.missing, gaps=lacking)

    def vote(method: str, column: Column) -> Entry:
        found = votes.get((method, column.key))
        return Entry(found.value, found.low, found.high, found.votes) if found else Entry()

    lines = [
        Line(
            method.name,
            (
                *(entry(method.name, column) for column in columns),
                *(vote(method.name, column) for column in asked),
            ),
            method.unavailable,
        )
        for method in record.methods
    ]
    unmeasured = tuple(sorted(record.unmeasured.items()))
    table = _placed(Table(TITLES[mode], (*columns, *asked), tuple(lines), unmeasured=unmeasured))
    return _with_published(table, record.protocol.published)


def parts(table: Table) -> list[Table]:
    """A headline table in the paper's own shape, and a second one with all further metrics."""
    first: list[int] = []
    words: set[str] = set()
    for number, column in enumerate(table.columns):
        word = column.title.split(" ")[0]
        # What follows under the same name are variants. A question has no estimator.
        if not column.estimator or (word in PAPER and word not in words):
            first.append(number)
            words.add(word)
    rest = [number for number in range(len(table.columns)) if number not in first]
    if not first or not rest:
        return [table]
    further = replace(table.part(f"{table.title}: further metrics", rest), unmeasured=())
    return [table.part(table.title, first), further]


def ablations(record: Record, mode: Mode) -> list[Ablation]:
    """A table for each factor that two methods or more have."""
    whole = headline(record, mode)
    found = []
    for factor in sorted({name for method in record.methods for name in method.factors}):
        levels = {m.name: m.factors[factor] for m in record.methods if factor in m.factors}
        if len(levels) > 1:
            found.append(_ablation(whole, factor, levels))
    return found


def _ablation(whole: Table, factor: str, levels: Mapping[str, float | str]) -> Ablation:
    numeric = all(isinstance(level, float) for level in levels.values())
    lines = [line for line in whole.lines if line.name in levels]
    if numeric:
        lines.sort(key=lambda line: float(levels[line.name]))
    table = _placed(Table(f"Ablation: {factor}", whole.columns, tuple(lines)))
    return Ablation(factor, tuple(levels[line.name] for line in lines), numeric, table)


def _placed(table: Table) -> Table:
    """With the best and the second best of each column; equal values share a place."""
    columns = [
        _places(column, [line.entries[number] for line in table.lines])
        for number, column in enumerate(table.columns)
    ]
    lines = tuple(
        replace(line, entries=tuple(column[row] for column in columns))
        for row, line in enumerate(table.lines)
    )
    return replace(table, lines=lines)


def _places(column: Column, entries: Sequence[Entry]) -> list[Entry]:
    values = sorted(
        {entry.value for entry in entries if entry.value is not None},
        reverse=column.higher_is_better,
    )
    places = {value: place for place, value in enumerate(values[:2], 1)}
    if len([entry for entry in entries if entry.value is not None]) < 2:
        places = {}  # nothing to be better than
    return [
        replace(entry, place=0 if entry.value is None else places.get(entry.value, 0))
        for entry in entries
    ]


def _with_published(table: Table, key: str) -> Table:
    """With the published rows, where at least one column was measured by the same estimator."""
    known = TABLES.get(key)
    if known is None:
        return table
    rows = tuple(
        (name, tuple(values.get(column.published, "") for column in table.columns))
        for name, values in known.rows.items()
    )
    if not any(any(values) for _, values in rows):
        return table
    return replace(table, published=rows, source=known.source)
