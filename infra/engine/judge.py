"""What a run makes of the attempts at its items: a result, a second attempt, or an end.

The first failure of an item proves nothing (a neighbour may have taken the memory), so it is
tried once more: in a fresh process, with nothing else in flight. If it fails there too, it
is lost. Second attempts wait until their run has nothing else to do, so that the pool
empties once a run and not once a failure.
"""

import pickle

from infra.engine.attempts import Failure, HostLostError, Success
from infra.engine.base import Done, Lost, Result
from infra.engine.board import Attempt, Told
from infra.errors import EngineError

MISHAPS = 3
"""How often the host of an item's worker may be lost before the item is blamed."""

STREAK = 10
"""So many attempts in a row that cost their worker are no coincidence."""


class Judge:
    """Judges the attempts of one run."""

    def __init__(self) -> None:
        self.again: list[Attempt] = []
        self._streak = 0

    def judge(self, told: Told) -> Result | Attempt | None:
        """Judge one attempt.

        Returns:
            The item's result; or the attempt, to be posted again at once; or None where a
            second attempt was put into ``again``.

        Raises:
            EngineError: The workers die whatever they are given.
        """
        attempt, came = told.attempt, told.came
        if isinstance(came, Success):
            self._streak = 0
            value = pickle.loads(came.value)  # noqa: S301 - from our own worker
            tries = 2 if attempt.alone else 1
            return Done(attempt.item.id, value, told.worker, came.seconds, tries)
        self._count(attempt, came)
        if isinstance(came, HostLostError):
            attempt.mishaps += 1
            if attempt.mishaps < MISHAPS:
                return attempt
            message = f"its worker's host was lost {MISHAPS} times: {came}"
            return Lost(attempt.item.id, "died", "HostLost", message, "", "", told.worker, 0.0)
        if not attempt.alone:
            self.again.append(Attempt(attempt.item, attempt.run, attempt.payload, alone=True))
            return None
        return Lost(
            attempt.item.id,
            came.kind,
            came.error,
            came.message,
            came.stderr,
            came.note,
            told.worker,
            came.seconds,
        )

    def _count(self, attempt: Attempt, came: Failure | HostLostError) -> None:
        """Count what cost a worker; second attempts come in a row by themselves."""
        if attempt.alone or (isinstance(came, Failure) and came.kind == "raised"):
            return
        self._streak += 1
        if self._streak < STREAK:
            return
        if isinstance(came, HostLostError):
            last = str(came)
        else:
            last = f"{came.error}, {came.message}\n{came.stderr}".rstrip()
        raise EngineError(
            f"{STREAK} items in a row cost their workers; the last: {last}",
            hint="see whether the machine has memory left and each worker enough of it "
            "(LIMELIGHT_MEMORY_BYTES, LIMELIGHT_WORKERS), then run the same command again",
        )
