"""Publishing results as they come: often enough to lose little, seldom enough to cost little."""

from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import Generic, Self, TypeVar

COMMIT_SECONDS = 1.0
COMMIT_ROWS = 1024

T = TypeVar("T")


class Batches(Generic[T]):
    """Rows on their way into a table; use as a context manager.

    Those that are at hand are published about once a second, and at the end: also when an
    error ends it, since what is finished is kept.

    Args:
        publish: Appends rows in one transaction.
    """

    def __init__(self, publish: Callable[[Sequence[T]], None]) -> None:
        self._publish = publish
        self._rows: list[T] = []
        self._published = monotonic()

    def add(self, rows: Sequence[T]) -> None:
        """Take rows; publish all that is at hand if it is time."""
        self._rows += rows
        if monotonic() - self._published > COMMIT_SECONDS or len(self._rows) >= COMMIT_ROWS:
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        self._publish(rows)
        self._published = monotonic()
