"""What a report's table is, before it is HTML, Markdown or LaTeX: values, places, intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evaluation.records.statistics import LEVEL

EMBEDDED = (
    "a stand-in with published precedent, for want of the standard weights; not to be held against "
    "published numbers"
)
"""What the dagger says."""

INTERVALS = (
    f"{LEVEL:.0%} intervals: bootstrap over identities (fewer than ten: Student's t over them; of "
    "one alone there is none); n counts the values."
)

GAPS = "Frames without a value, such as those where no face was found, are left out of the means."
"""Where there are any."""

PUBLISHED = "as published, not measured by us; only beside metrics of the same estimator"
"""What is said of published rows, after their source."""


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
        whole: Whether it is one value of all films together, such as FID.
    """

    key: str
    title: str
    higher_is_better: bool
    embedded: bool = False
    unit: str = ""
    estimator: str = ""
    definition: str = ""
    published: str = ""
    whole: bool = False

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
        gaps: Share of the frames behind it that have no value, in 0..1.
        draws: Of its interval, where it is a value of all films together.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    missing: int = 0
    place: int = 0
    warning: str = ""
    gaps: float = 0.0
    draws: int = 0

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
        """How many values, of how many; empty where none was asked for."""
        if not self.n + self.missing:
            return ""
        return f"n={self.n} of {self.n + self.missing}" if self.missing else f"n={self.n}"

    @property
    def lacking(self) -> str:
        """Which share of the frames has no value; empty for none, or where no frame has any."""
        if self.value is None or not self.gaps:
            return ""
        share = min(max(round(100 * self.gaps), 1), 99)  # never said to be none, or all
        return f"{'<' if self.gaps < 0.005 else ''}{share}% of frames missing"


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
        unmeasured: Metrics that were asked for and not measured, and why.
    """

    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    published: tuple[tuple[str, tuple[str, ...]], ...] = ()
    source: str = ""
    unmeasured: tuple[tuple[str, str], ...] = ()

    def part(self, title: str, numbers: Sequence[int]) -> "Table":
        """Some of its columns, by their numbers, as a table of its own."""
        rows = tuple((name, tuple(values[n] for n in numbers)) for name, values in self.published)
        published = rows if any(any(values) for _, values in rows) else ()
        return replace(
            self,
            title=title,
            columns=tuple(self.columns[n] for n in numbers),
            lines=tuple(
                replace(line, entries=tuple(line.entries[n] for n in numbers))
                for line in self.lines
            ),
            published=published,
            source=self.source if published else "",
        )

    @property
    def stand_ins(self) -> str:
        """The embedded estimators, each with its columns; empty where there is none."""
        found: dict[str, list[str]] = {}
        for column in self.columns:
            if column.embedded:
                found.setdefault(column.estimator, []).append(column.title)
        return "; ".join(f"{', '.join(titles)} by {name}" for name, titles in found.items())

    @property
    def whole(self) -> str:
        """Said of metrics of all films together, and of their intervals; empty for none."""
        found: dict[str, list[str]] = {}
        for number, column in enumerate(self.columns):
            if column.whole:
                told = _spread([line.entries[number] for line in self.lines])
                found.setdefault(told, []).append(column.title)
        return " ".join(
            f"{', '.join(titles)}: one value of all films together, {told}."
            for told, titles in found.items()
        )

    @property
    def gaps(self) -> str:
        """Said where values stand on fewer frames than there are; empty where none do."""
        return GAPS if any(entry.lacking for line in self.lines for entry in line.entries) else ""

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


def decimals(value: float) -> int:
    """Decimals that show a value as the field's tables do: three digits below one, else four."""
    size = abs(value)
    if size == 0:
        return 3
    digits = 3 if size < 1 else 4
    leading = len(str(int(size))) if size >= 1 else -_zeros(size)
    places = max(digits - leading, 0)
    return places if places <= 8 else 3  # so small that it is printed as zero


def _spread(entries: Sequence[Entry]) -> str:
    """How the intervals of values of all films were found."""
    if not any(entry.interval for entry in entries):
        return "without an interval"
    draws = max(entry.draws for entry in entries)
    return f"± Student's t times the standard deviation over {draws} draws of identities"


def _zeros(size: float) -> int:
    """Zeros between the point and the first digit."""
    return -int(f"{size:e}".split("e")[1]) - 1
