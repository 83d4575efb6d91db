"""Being told to stop, and telling how a run ended."""

import json
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal, Self, get_args

from infra.errors import LakeError
from infra.storage import fsync_path, lake_errors, write_atomic

PREEMPTED_EXIT_CODE = 75
"""What a rank exits with after it was told to stop, and has saved (EX_TEMPFAIL: try again).
torchrun makes a 1 of it: ask the run's `Ended`, not the exit code."""

Reason = Literal["finished", "preempted", "stopped"]
_FILE = "ended.json"


class StopRequest:
    """While inside, SIGTERM and SIGINT only raise a flag, which the training loop asks for.

    A signal may reach some ranks before others. So the loop adds the ranks' flags up in the
    reduction that each step makes anyway, and all stop after the same step. A second SIGINT
    interrupts at once. Signals are heard in the process's main thread alone.
    """

    def __init__(self) -> None:
        self._flag = 0
        self._before: dict[int, Any] = {}

    @property
    def flag(self) -> int:
        """1 once this process was told to stop, else 0."""
        return self._flag

    def _hear(self, sign: int, frame: FrameType | None) -> None:
        self._flag = 1
        if sign == signal.SIGINT:
            signal.signal(sign, signal.default_int_handler)

    def __enter__(self) -> Self:
        for sign in (signal.SIGTERM, signal.SIGINT):
            self._before[sign] = signal.signal(sign, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sign, handler in self._before.items():
            signal.signal(sign, handler)


@dataclass(frozen=True)
class Ended:
    """How a run ended, in `ended.json` of its folder; there is none while it trains or crashed.

    Attributes:
        reason: `finished`, all steps were made; `preempted`, it was told to stop, has saved, and
            goes on when it is started again; `stopped`, it cannot go on as it is.
        step: Optimizer steps that were made.
    """

    reason: Reason
    step: int

    def write(self, run: Path) -> None:
        """Leave it in a run's folder; rank 0 does, after its last checkpoint is whole."""
        write_atomic(run / _FILE, json.dumps(asdict(self)).encode(), point="ended")

    @classmethod
    def read(cls, run: Path) -> "Ended | None":
        """What a run's folder says.

        Raises:
            LakeError: It says something else.
        """
        path = run / _FILE
        try:
            ended = cls(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (TypeError, ValueError) as error:
            raise LakeError(f"{path} is damaged: {error}", hint="remove it") from error
        if ended.reason not in get_args(Reason):
            raise LakeError(f"{path} is damaged: reason {ended.reason!r}", hint="remove it")
        return ended

    @staticmethod
    def clear(run: Path) -> None:
        """Forget it: the run begins, or goes on."""
        with lake_errors(run):
            (run / _FILE).unlink(missing_ok=True)
            fsync_path(run)
