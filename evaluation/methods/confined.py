"""A program run within limits of time and memory, of which no process is left behind."""

import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.methods import warden
from infra.processes import kill_session

_PATIENCE = 15.0  # seconds in which a warden has ended what it watches over
_TAIL = 8000  # bytes of what it printed that are told


@dataclass(frozen=True)
class Ending:
    """How a program ended.

    Attributes:
        code: Its exit code; below 0 the signal that ended it; None where its time was up.
        said: The last of what it printed, on stderr or stdout.
    """

    code: int | None
    said: str


def run_confined(
    argv: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str],
    seconds: float,
    memory: int,
) -> Ending:
    """Run a program, and end every process of it (`evaluation.methods.warden`).

    If we are killed, so is the program with all that it started.

    Args:
        argv: The program and its arguments; no shell sees them.
        log: File for what it prints.
        cwd: Its working folder.
        env: All of its environment.
        seconds: It is killed after so many.
        memory: Bytes of address space that each of its processes may have; 0 for any.

    Raises:
        OSError: This interpreter cannot be started again.
    """
    told = (str(os.getpid()), str(memory), *argv)
    with log.open("wb") as printed:
        warded = subprocess.Popen(
            # The program's environment is not to decide how the warden's Python works.
            [sys.executable, "-E", "-P", "-m", warden.__name__, *told],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    ended = False
    try:
        ended = _ended(warded.pid, seconds)
    finally:
        if not ended:
            warded.terminate()
            _ended(warded.pid, _PATIENCE)
        # Not reaped yet: until the sweep is over, its number can be nobody else's.
        warded.kill()
        kill_session(warded.pid, since=0)
        code = warded.wait()
    return Ending(code if ended else None, _tail(log))


def _ended(pid: int, seconds: float) -> bool:
    """Wait for a child; whether it ended in time. It is left to be reaped."""
    handle = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(handle)


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - _TAIL, 0))
        return file.read().decode(errors="replace").strip()
