"""Being told to stop."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

PREEMPTED_EXIT_CODE = 75
"""What a rank exits with after it was told to stop, and has saved (EX_TEMPFAIL: try again).
torchrun makes a 1 of it: ask the run's `ended.json`, not the exit code."""


class StopRequest:
    """While inside, SIGTERM and SIGINT only raise a flag, which the training loop asks for.

    A signal may reach some ranks before others. So the loop adds the ranks' flags up in the
    reduction that each step makes anyway, and all stop after the same step. A second SIGINT
    interrupts at once.

    Python hears signals in the main thread alone. Elsewhere (Ray Train runs a rank in a thread of
    its worker) nothing changes, and whoever wants the run to stop calls `ask`.
    """

    def __init__(self) -> None:
        self._flag = 0
        self._before: dict[int, Any] = {}

    @property
    def flag(self) -> int:
        """1 once this process was told to stop, else 0."""
        return self._flag

    def ask(self) -> None:
        """Raise the flag, as a signal does."""
        self._flag = 1

    def _hear(self, sign: int, frame: FrameType | None) -> None:
        self.ask()
        if sign == signal.SIGINT:
            signal.signal(sign, signal.default_int_handler)

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
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
