"""The board where a pool's work is posted, and the rules by which it is taken.

- What is in flight holds at most ``window_bytes`` (a single item may be larger).
- An item that failed is tried again *alone*: nothing else is in flight in the pool meanwhile.
- Several runs may post at once; their items are taken in the order of posting.

No Ray and no process here: only the rules, under one lock.
"""

from collections import deque
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Condition

from infra.engine.attempts import Broken, Failure, HostLostError, Success
from infra.engine.base import Item
from infra.errors import EngineError, LimelightError


@dataclass(frozen=True)
class Told:
    """What came of an attempt: told by a keeper to the run that posted it."""

    attempt: "Attempt"
    worker: str
    came: Success | Failure | HostLostError


@dataclass(eq=False)
class Run:
    """One call of a pool's ``run``.

    Attributes:
        told: Brings the run what came of its attempts.
        over: Whether nobody waits for its results any more.
    """

    told: SimpleQueue[Told | Broken] = field(default_factory=SimpleQueue)
    over: bool = False


@dataclass(eq=False)
class Attempt:
    """An item on the board.

    Attributes:
        item: The item.
        run: Who posted it.
        payload: The item's payload, pickled.
        alone: Whether it wants the whole pool to itself.
        mishaps: How often its worker's host was lost.
    """

    item: Item
    run: Run
    payload: bytes
    alone: bool = False
    mishaps: int = 0


class Board:
    """Where runs post attempts and workers' keepers take them.

    Args:
        window_bytes: How much the items in flight may hold together.
    """

    def __init__(self, window_bytes: int) -> None:
        self._window_bytes = window_bytes
        self._changed = Condition()
        self._queue: deque[Attempt] = deque()
        self._lonely: deque[Attempt] = deque()
        self._flying: set[Attempt] = set()
        self._runs: set[Run] = set()
        self._idle = 0  # keepers that are free, or about to be
        self._closed = False

    def join(self, run: Run) -> None:
        """Begin a run."""
        with self._changed:
            self._runs.add(run)
            if self._closed:
                self._fail(_closed())

    def leave(self, run: Run) -> set[Attempt]:
        """End a run, and take its attempts off the board.

        Returns:
            Those that are still in flight.
        """
        with self._changed:
            self._withdraw(run)
            self._changed.notify_all()
            return {attempt for attempt in self._flying if attempt.run is run}

    def post(self, attempt: Attempt) -> None:
        """Offer an attempt."""
        with self._changed:
            if not attempt.run.over:
                (self._lonely if attempt.alone else self._queue).append(attempt)
                self._changed.notify_all()

    def enlist(self) -> bool:
        """Wait until there is work for one more worker; False once the board is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._posted() > self._idle)
            self._idle += 1
            return not self._closed

    def discharge(self) -> None:
        """Undo one :meth:`enlist`: a worker is gone."""
        with self._changed:
            self._idle -= 1
            self._changed.notify_all()

    def take(self, timeout: float) -> Attempt | None:
        """The next attempt that the rules allow, or None after ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._allowed(), timeout)
            queue = None if self._closed else self._allowed()
            if not queue:
                return None
            attempt = queue.popleft()
            self._flying.add(attempt)
            self._idle -= 1
            return attempt

    def land(self, attempt: Attempt) -> None:
        """An attempt is no longer in flight; its worker's keeper is free for another."""
        with self._changed:
            self._flying.discard(attempt)
            self._idle += 1
            self._changed.notify_all()

    def fail(self, error: LimelightError) -> None:
        """End every run with ``error``."""
        with self._changed:
            self._fail(error)

    def close(self) -> None:
        """Send the keepers home; end every run."""
        with self._changed:
            self._closed = True
            self._fail(_closed())

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def _posted(self) -> int:
        return len(self._queue) + len(self._lonely)

    def _fail(self, error: LimelightError) -> None:
        for run in list(self._runs):
            run.told.put(Broken(error))
            self._withdraw(run)
        self._changed.notify_all()

    def _withdraw(self, run: Run) -> None:
        run.over = True
        self._runs.discard(run)
        self._queue = deque(attempt for attempt in self._queue if attempt.run is not run)
        self._lonely = deque(attempt for attempt in self._lonely if attempt.run is not run)

    def _allowed(self) -> deque[Attempt] | None:
        """The queue whose head may be taken now."""
        if self._lonely:
            return None if self._flying else self._lonely
        if any(attempt.alone for attempt in self._flying) or not self._queue:
            return None
        held = sum(attempt.item.size for attempt in self._flying)
        fits = held + self._queue[0].item.size <= self._window_bytes
        return self._queue if fits or not self._flying else None


def _closed() -> EngineError:
    return EngineError("the engine is closed", hint="open a new one")
