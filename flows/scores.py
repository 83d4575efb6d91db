"""What a running benchmark has done so far, as reporters and terminals show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

COLUMNS = ("made", "there before", "failed", "unavailable")


@dataclass
class Scores:
    """Counters; any thread may ask."""

    total: int = 0
    """Of what is being done now; 0 while that is not known."""
    finished: int = 0
    """How much of it is done."""
    step: str = "starting"
    """What the benchmark is at, in words."""
    methods: tuple[str, ...] = ()
    """In the order of the table."""
    _columns: dict[tuple[str, str], str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def begin(self, step: str, total: int = 0) -> None:
        """Say what comes next, and how much of it there is."""
        with self._lock:
            self.step, self.total, self.finished = step, total, 0

    def one(self, *, of: int | None = None) -> None:
        """Count one more of what is being done."""
        with self._lock:
            self.finished += 1
            self.total = max(self.total, of or 0)

    def cell(self, method: str, cell: str, outcome: str, *, made: bool) -> None:
        """Count a cell that is through; again where a step is retried, it counts once."""
        column = outcome if outcome != "done" else "made" if made else "there before"
        with self._lock:
            self.finished += 1
            if self._columns.get((method, cell)) != "made" or column != "there before":
                self._columns[method, cell] = column

    def name(self, methods: Sequence[str]) -> None:
        """Name the methods."""
        self.methods = tuple(methods)

    def rows(self) -> list[dict[str, object]]:
        """A table: a row a method."""
        with self._lock:
            return [
                {"method": name, **{column: self._count(column, name) for column in COLUMNS}}
                for name in self.methods
            ]

    def counts(self) -> Mapping[str, int]:
        """All methods' together, by column."""
        with self._lock:
            return {column: self._count(column) for column in COLUMNS}

    def _count(self, column: str, method: str = "") -> int:
        return sum(
            found == column and method in ("", name) for (name, _), found in self._columns.items()
        )
