"""A keeper: the thread of the driver that owns one worker and has one item in flight."""

from collections.abc import Callable, Collection
from contextlib import suppress
from threading import Lock, Thread
from time import sleep
from typing import Protocol

from infra.engine.attempts import Attempted, Broken, HostLostError
from infra.engine.board import Attempt, Board, Told
from infra.engine.ledger import Claim
from infra.errors import EngineError, LimelightError

IDLE_SECONDS = 1.0
_NO_PLACE_SECONDS = 0.2
_LOST_STARTS = 3
_STARTING = object()


class Hand(Protocol):
    """A worker wherever it is, as its keeper holds it; any call may raise HostLostError."""

    def start(self) -> None:
        """Wait until the worker is made; raises LimelightError where it cannot be."""

    def run(self, attempt: Attempt) -> Attempted:
        """Do one item."""

    def stop(self) -> None:
        """Close the worker and end it."""

    def kill(self) -> None:
        """End it now; may be called from any thread, and twice."""


class Keeper(Thread):
    """Keeps one worker of a pool busy for as long as the board has work.

    Args:
        name: The worker's name.
        board: Where the work is posted.
        claim: The pool's claim on the cluster.
        make: Makes the worker's hand.
    """

    def __init__(self, name: str, board: Board, claim: Claim, make: Callable[[str], Hand]) -> None:
        super().__init__(name=name, daemon=True)
        self._board = board
        self._claim = claim
        self._make = make
        self._lost_starts = 0
        self._lock = Lock()  # over the two below, which other threads read to kill
        self._hand: Hand | None = None
        self._busy_with: object = None

    def run(self) -> None:
        """Serve the board until it closes."""
        while self._board.enlist():
            try:
                if self._claim.hire():
                    self._employ()
                else:
                    sleep(_NO_PLACE_SECONDS)
            except LimelightError as error:
                self._board.fail(error)
            except Exception as error:
                failure = EngineError(f"the engine failed: {type(error).__name__}: {error}")
                failure.__cause__ = error
                self._board.fail(failure)
            finally:
                self._board.discharge()

    def kill(self, among: Collection[Attempt] | None = None) -> None:
        """Kill the worker, if it is at one of these (None: if it is at anything)."""
        with self._lock:
            busy = self._busy_with
            if self._hand and busy and (among is None or busy in among):
                self._hand.kill()

    def _employ(self) -> None:
        """Have a worker, from its start to its end."""
        hand = self._make(self.name)
        try:
            if self._start(hand):
                self._serve(hand)
            with suppress(HostLostError):
                hand.stop()
        finally:
            hand.kill()
            self._claim.release()

    def _start(self, hand: Hand) -> bool:
        try:
            self._begin(hand, _STARTING)
            hand.start()
        except HostLostError as error:
            self._lost_starts += 1
            if self._lost_starts >= _LOST_STARTS and not self._board.closed:
                self._lost_starts = 0
                raise EngineError(
                    f"worker {self.name} was lost {_LOST_STARTS} times while starting: {error}",
                    hint="see whether the machine runs out of memory; fewer workers need less",
                ) from error
            return False
        finally:
            self._end()
        self._lost_starts = 0
        return True

    def _serve(self, hand: Hand) -> None:
        """Do items until the worker is lost, or another pool needs its place more."""
        while not self._board.closed:
            attempt = self._board.take(IDLE_SECONDS)
            if attempt and not self._do(attempt, hand):
                return
            if self._claim.must_yield(idle=attempt is None):
                return

    def _do(self, attempt: Attempt, hand: Hand) -> bool:
        """Do one item; False where that cost us the worker."""
        came: Attempted | HostLostError
        try:
            self._begin(hand, attempt)
            came = hand.run(attempt)
        except HostLostError as error:
            came = error
        finally:
            self._end()
            self._board.land(attempt)
        if isinstance(came, Broken):
            raise came.error
        attempt.run.told.put(Told(attempt, self.name, came))
        return not isinstance(came, HostLostError)

    def _begin(self, hand: Hand, task: Attempt | object) -> None:
        """Become killable; refuse what was called off before that."""
        with self._lock:
            if self._board.closed or (isinstance(task, Attempt) and task.run.over):
                raise HostLostError("called off")
            self._hand, self._busy_with = hand, task

    def _end(self) -> None:
        with self._lock:
            self._hand = self._busy_with = None
