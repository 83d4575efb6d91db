"""A program run within limits of time and memory, of which no process is left behind."""

import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.processes import die_with_parent, kill_session

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
    """Run a program in a session of its own, and end every process of it.

    If we are killed, so is the program.

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
    trampoline = [sys.executable, "-P", "-m", __name__, str(os.getpid()), str(memory), *argv]
    with log.open("wb") as printed:
        program = subprocess.Popen(
            trampoline,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    ended = False
    try:
        ended = _ended(program.pid, seconds)
    finally:
        # Not reaped yet: until the sweep is over, its number can be nobody else's.
        program.kill()
        kill_session(program.pid, since=0)
        code = program.wait()
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


def _become(parent: int, memory: int, argv: list[str]) -> None:
    """In the child: take on the limits, then be the program."""
    die_with_parent(signal.SIGKILL, parent)
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.exit(f"{argv[0]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    _become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
