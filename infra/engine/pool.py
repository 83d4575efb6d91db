"""A pool of workers, each with a keeper; several runs may share it, from several threads."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from queue import Empty
from threading import Lock
from time import monotonic

from infra.engine.attempts import Broken
from infra.engine.base import Done, Item, Lost, Result
from infra.engine.board import Attempt, Board, Run, Told
from infra.engine.judge import Judge
from infra.engine.keeper import Hand, Keeper
from infra.engine.ledger import Claim

POLL_SECONDS = 0.1

AHEAD = 2
"""Items drawn for each worker: one in flight, one at hand."""


class WorkerPool:
    """Workers that are alike, each with a keeper.

    Args:
        claim: The pool's claim on the cluster.
        size: How many workers it may have.
        window_bytes: How much the items in flight may hold together.
        make: Makes a worker's hand, given its name.
    """

    def __init__(
        self, claim: Claim, size: int, *, window_bytes: int, make: Callable[[str], Hand]
    ) -> None:
        self.size = size
        self._board = Board(window_bytes)
        self._keepers = [Keeper(f"{claim.pool}-{n}", self._board, claim, make) for n in range(size)]
        self._lock = Lock()
        self._started = False

    def run(
        self, items: Iterable[Item], *, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Result]:
        """Yield one result an item, as they come; see :class:`infra.engine.base.Pool`.

        Items are drawn, and ``cancelled`` is asked (some ten times a second), in the caller's
        thread. Once cancelled, what is in flight is killed and the iteration ends.

        Raises:
            LimelightError: Nothing will go well: a worker raised LakeError, none can be made,
                or the workers die whatever they are given.
        """
        self._start()
        run = Run()
        self._board.join(run)
        try:
            yield from self._conduct(run, iter(items), _seldom(cancelled))
        finally:
            flying = self._board.leave(run)
            for keeper in self._keepers if flying else ():
                keeper.kill(flying)

    def close(self) -> None:
        """End every worker, and every run."""
        self._board.close()
        for keeper in self._keepers:
            keeper.kill()
        with self._lock:
            started = self._keepers if self._started else []
        for keeper in started:
            keeper.join()

    def _start(self) -> None:
        with self._lock:
            if not self._started:
                for keeper in self._keepers:
                    keeper.start()
            self._started = True

    def _conduct(
        self, run: Run, items: Iterator[Item], cancelled: Callable[[], bool]
    ) -> Iterator[Result]:
        judge = Judge()
        posted = 0
        drained = False
        while True:
            while not drained and posted < AHEAD * self.size:
                item = next(items, None)
                drained = item is None
                if item is not None:
                    self._board.post(Attempt(item, run, pickle.dumps(item.payload)))
                    posted += 1
            if not posted:
                if not judge.again:
                    return
                for attempt in judge.again:
                    self._board.post(attempt)
                posted = len(judge.again)
                judge.again.clear()
            told = _hear(run, cancelled)
            if told is None:
                return
            verdict = judge.judge(told)
            if isinstance(verdict, Attempt):
                self._board.post(verdict)
                continue
            posted -= 1
            if isinstance(verdict, Done | Lost):
                yield verdict


def _hear(run: Run, cancelled: Callable[[], bool]) -> Told | None:
    """What came of some attempt of the run; None once it is cancelled."""
    while not cancelled():
        try:
            told = run.told.get(timeout=POLL_SECONDS)
        except Empty:
            continue
        if isinstance(told, Broken):
            raise told.error
        return told
    return None


def _seldom(ask: Callable[[], bool]) -> Callable[[], bool]:
    """``ask``, but asked some ten times a second at most, however often called."""
    due = 0.0

    def asked_seldom() -> bool:
        nonlocal due
        if monotonic() < due:
            return False
        due = monotonic() + POLL_SECONDS
        return ask()

    return asked_seldom
