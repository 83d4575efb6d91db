"""The tables of a report, before they are HTML, Markdown or LaTeX: values, places, intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evaluation.records.facts import Mode
from evaluation.records.published import TABLES
from evaluation.records.record import Record
from evaluation.records.statistics import LEVEL, Estimate, summary

TITLES: dict[Mode, str] = {"relight": "Relighting", "animate": "Portrait animation"}

EMBEDDED = (
    "a stand-in with published precedent, for want of the standard weights; not to be held against "
    "published numbers"
)
"""What the dagger says."""

INTERVALS = (
    f"{LEVEL:.0%} intervals: bootstrap over identities (fewer than ten: Student's t over them); "
    "n counts the values."
)


@dataclass(frozen=True)
class Column:
    """A metric, or a question of the study.

    Attributes:
        key: Name of the metric; the question itself.
        title: Heading.
        higher_is_better: Which way is better.
        embedded: Whether it gets a dagger.
        unit: Empty for plain numbers.
        estimator: Network or formula; empty for a question.
        definition: What is computed.
        published: Column of published tables that may stand beside it.
    """

    key: str
    title: str
    higher_is_better: bool
    embedded: bool = False
    unit: str = ""
    estimator: str = ""
    definition: str = ""
    published: str = ""

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def arrow(self) -> str:
        """Points to the better side."""
        return "↑" if self.higher_is_better else "↓"


@dataclass(frozen=True)
class Entry:
    """A number in a table.

    Attributes:
        value: It; None for none.
        low: Lower end of its interval; None where there is none.
        high: Upper end.
        n: Values that it stands on.
        missing: Values that were not there.
        place: 1 for the column's best, 2 for the second best, else 0.
        warning: Why it should not be trusted; empty where it may be.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    missing: int = 0
    place: int = 0
    warning: str = ""

    @property
    def text(self) -> str:
        """The value, as the field's tables print it."""
        return "–" if self.value is None else f"{self.value:.{decimals(self.value)}f}"

    @property
    def interval(self) -> str:
        """Its interval with as many decimals; empty for none."""
        if self.value is None or self.low is None or self.high is None:
            return ""
        places = decimals(self.value)
        return f"[{self.low:.{places}f}, {self.high:.{places}f}]"

    @property
    def count(self) -> str:
        """How many values, of how many."""
        return f"n={self.n} of {self.n + self.missing}" if self.missing else f"n={self.n}"


@dataclass(frozen=True)
class Line:
    """A method's row: its name, an entry a column, and why it could not run (or nothing)."""

    name: str
    entries: tuple[Entry, ...]
    unavailable: str = ""


@dataclass(frozen=True)
class Table:
    """A table in the paper's own shape.

    Attributes:
        title: What was done.
        columns: Metrics.
        lines: Methods.
        published: Names and values of published methods: a text a column, empty where the estimator
            is another one.
        source: Where those are from; empty for none.
    """

    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    published: tuple[tuple[str, tuple[str, ...]], ...] = ()
    source: str = ""

    @property
    def warnings(self) -> list[tuple[str, str, str]]:
        """Column, warning, and the methods whose entries have it."""
        found: dict[tuple[str, str], list[str]] = {}
        for line in self.lines:
            for column, entry in zip(self.columns, line.entries, strict=True):
                if entry.warning:
                    found.setdefault((column.title, entry.warning), []).append(line.name)
        return [(*key, ", ".join(names)) for key, names in found.items()]


@dataclass(frozen=True)
class Ablation:
    """Methods that differ in one factor.

    Attributes:
        factor: What is varied.
        values: The factor's value of each line of the table.
        numeric: Whether it is a number, such as the guidance scale, and may be a plot's axis.
        table: A line a value, in rising order.
    """

    factor: str
    values: tuple[float | str, ...]
    numeric: bool
    table: Table

    @property
    def labelled(self) -> Table:
        """The table with the factor's values in place of the methods' names."""
        lines = tuple(
            replace(line, name=f"{value:g}" if isinstance(value, float) else value)
            for value, line in zip(self.values, self.table.lines, strict=True)
        )
        return replace(self.table, lines=lines)


def all_tables(record: Record) -> list[Table]:
    """Headline tables, each followed by its ablations, a line a value of the factor."""
    return [
        table
        for mode in record.modes()
        for table in (
            headline(record, mode),
            *(ablation.labelled for ablation in ablations(record, mode)),
        )
    ]


def decimals(value: float) -> int:
    """Decimals that show a value as the field's tables do: three digits below one, else four."""
    size = abs(value)
    if size == 0:
        return 3
    digits = 3 if size < 1 else 4
    leading = len(str(int(size))) if size >= 1 else -_zeros(size)
    return min(max(digits - leading, 0), 8)


def headline(record: Record, mode: Mode) -> Table:
    """All methods on all metrics.

    Args:
        record: Of the benchmark.
        mode: Which half of it.
    """
    sets = {(each.method, each.metric): each for each in record.sets if each.mode == mode}
    votes = {(each.method, each.question): each for each in record.study}
    measured = {metric for cell in record.cells if cell.mode == mode for metric in cell.values}
    measured |= {metric for _, metric in sets}
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
        )
        for metric in record.metrics
        if metric.name in measured
    ]
    questions = list(dict.fromkeys(question for _, question in votes))
    asked = [
        Column(question, question, True, definition="Mean of the votes, from 1 to 5.")
        for question in questions
    ]

    def entry(method: str, column: Column) -> Entry:
        if (method, column.key) in sets:
            found = sets[method, column.key]
            return Entry(found.value, found.low, found.high, found.n, 0, 0, found.warning)
        return _entry(summary(record, mode, method, column.key))

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
    table = _placed(Table(TITLES[mode], (*columns, *asked), tuple(lines)))
    return _with_published(table, record.protocol.published)


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


def _zeros(size: float) -> int:
    """Zeros between the point and the first digit."""
    return -int(f"{size:e}".split("e")[1]) - 1


def _entry(found: Estimate) -> Entry:
    return Entry(found.value, found.low, found.high, found.n, found.missing)


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
