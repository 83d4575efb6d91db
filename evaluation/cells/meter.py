"""What a method costs: the seconds within it, and the memory that it holds."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from typing import Self

import psutil

from evaluation.cells.gpu import cuda

_EVERY = 0.1
"""Seconds between two looks at child processes."""

_SETTLED = 10
"""Looks after which a child that still looks like this process is a worker, and not on its way to a
program of its own."""


@dataclass(frozen=True)
class Held:
    """Memory that this process holds, in bytes.

    Attributes:
        resident: Of the machine's.
        gpu: Of a GPU's, through torch.
    """

    resident: int = 0
    gpu: int = 0

    @classmethod
    def now(cls) -> Self:
        """At this moment."""
        used = cuda()
        return cls(_resident(), int(used.memory_allocated()) if used else 0)

    def __add__(self, other: "Held") -> "Held":
        return Held(self.resident + other.resident, self.gpu + other.gpu)

    def __sub__(self, other: "Held") -> "Held":
        return Held(self.resident - other.resident, self.gpu - other.gpu)


class Meter:
    """Seconds and memory that a method takes; a context manager around its work.

    A worker holds more than the method that is at work: what it started with, and the models of
    metrics. That is told as ``others``, and taken off. What child processes hold is added; they
    are looked at ten times a second, so that a shorter peak of theirs may be missed.

    Args:
        others: What this process holds that is not the method's.

    Attributes:
        seconds: Spent so far between `start` and `stop`.
        peak_bytes: Most memory that the method held within; known afterwards.
        peak_gpu_bytes: Most memory of a GPU that it held through torch in this process; None
            where there was none.
    """

    seconds = 0.0
    peak_bytes = 0
    peak_gpu_bytes: int | None = None

    def __init__(self, others: Held = Held()) -> None:
        self._others = others
        self._seen = 0
        self._looks: Counter[int] = Counter()
        self._over = Event()
        self._watch = Thread(target=self._look, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self._exact = _forget_peak()
        if used := cuda():
            used.reset_peak_memory_stats()
        self._watch.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._watch.join()
        own = _peak() if self._exact else _resident()
        self.peak_bytes = max(own, self._seen) - self._others.resident
        self.peak_bytes = max(self.peak_bytes, 0)
        if used := cuda():
            peak = int(used.max_memory_allocated()) - self._others.gpu
            self.peak_gpu_bytes = peak if peak > 0 else None

    def start(self) -> None:
        """The method's turn begins."""
        self._since = perf_counter()

    def stop(self) -> None:
        """Its turn ends: the film is written on nobody's account."""
        self.seconds += perf_counter() - self._since

    def _look(self) -> None:
        """Note the most that this process and its children hold together."""
        while not self._over.wait(_EVERY):
            self._seen = max(self._seen, _resident() + self._of_children())

    def _of_children(self) -> int:
        """Bytes that child processes hold by themselves.

        Until a child runs its own program it is a copy of its parent, or (after vfork) has its
        parent's very memory, which must not count again. Such a moment is over soon.
        """
        for pid in (children := _descendants()):
            self._looks[pid] += 1
        return sum(
            _own(pid)
            for pid in children
            if self._looks[pid] > _SETTLED or _command(pid) != _command()
        )


def _resident() -> int:
    """Bytes of memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


def _command(pid: int | None = None) -> list[str]:
    """The command line of a process, None being this one; empty where it has ended."""
    try:
        return list(psutil.Process(pid).cmdline())
    except psutil.Error:
        return []


def _own(pid: int) -> int:
    """Bytes that a process shares with nobody; 0 where it has ended."""
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return 0


def _descendants() -> list[int]:
    """Children of this process, and theirs. Where the kernel does not list them there are none."""
    found, left = [], ["self"]
    while left:
        for told in Path("/proc", left.pop(), "task").glob("*/children"):
            try:
                children = told.read_text().split()
            except OSError:  # it has just ended
                continue
            found += [int(child) for child in children]
            left += children
    return found


def _forget_peak() -> bool:
    """Let the kernel's high-water mark begin anew; whether that is allowed."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak() -> int:
    """Most bytes that this process had in memory since `_forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) * 1024
