"""What a running benchmark has done so far, as reporters and terminals show it."""

from collections import Counter
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
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
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

    def cell(self, method: str, outcome: str, *, made: bool) -> None:
        """Count a cell that is through."""
        column = outcome if outcome != "done" else "made" if made else "there before"
        with self._lock:
            self.finished += 1
            self._counts[method, column] += 1

    def name(self, methods: Sequence[str]) -> None:
        """Name the methods."""
        self.methods = tuple(methods)

    def rows(self) -> list[dict[str, object]]:
        """A table: a row a method."""
        with self._lock:
            return [
                {"method": name, **{column: self._counts[name, column] for column in COLUMNS}}
                for name in self.methods
            ]

    def counts(self) -> Mapping[str, int]:
        """All methods' together, by column."""
        with self._lock:
            return {
                column: sum(n for (_, own), n in self._counts.items() if own == column)
                for column in COLUMNS
            }
