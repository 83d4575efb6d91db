"""Stands between us and a program that we run, and ends with it whatever it started.

Orphans of the program become this process's children (it is their *subreaper*), in whichever
groups and sessions they hid. When the program ends, when its time is up (SIGTERM), and when we
end ourselves, be it by SIGKILL (the kernel then sends SIGTERM), none of them is left.

Run as ``python -m evaluation.methods.warden PARENT MEMORY PROGRAM ARGUMENT...``. Linux only.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from types import FrameType

import psutil

from infra.processes import die_with_parent

_PR_SET_CHILD_SUBREAPER = 36
_SWEEP_SECONDS = 10.0


def main(parent: int, memory: int, argv: list[str]) -> int:
    """Run a program, then end all that it left.

    Args:
        parent: Process that the program shall not outlive.
        memory: Bytes of address space that each process may have; 0 for any.
        argv: The program and its arguments.

    Returns:
        Its exit code; below 0 the signal that ended it.
    """
    signal.signal(signal.SIGTERM, _stop)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    die_with_parent(signal.SIGTERM, parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        return subprocess.Popen(argv, preexec_fn=partial(_limited, os.getpid(), memory)).wait()
    except OSError as error:
        sys.exit(f"{argv[0]} cannot be run: {error.strerror}")
    finally:
        _end_descendants()


def _stop(sign: int, frame: FrameType | None) -> None:
    """We were told to end, whatever we are at."""
    signal.signal(sign, signal.SIG_IGN)
    _end_descendants()
    _end_by(sign)


def _end_by(sign: int) -> None:
    """End as a process ends by that signal: who waits for us sees what ended the program."""
    if sign != signal.SIGKILL:
        signal.signal(sign, signal.SIG_DFL)
    os.kill(os.getpid(), sign)


def _limited(warden: int, memory: int) -> None:
    """In the child, before it is the program."""
    die_with_parent(signal.SIGKILL, warden)
    if memory:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end_descendants() -> None:
    """Kill and reap until nobody is left; those who were orphaned meanwhile are ours by then."""
    until = time.monotonic() + _SWEEP_SECONDS
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < until:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


if __name__ == "__main__":
    code = main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    if code < 0:
        _end_by(-code)
    sys.exit(code)
