"""Threads that leave the cores to others."""

import os
import sys
import threading
from contextlib import suppress

_STEP = 10
_NICEST = 19


def yielding_threads() -> None:
    """Let torch's threads soon sleep while they wait; to be called before torch is imported.

    Threads that spin for long take the core from the one that they wait for, where others want it
    too: on two busy cores a training step took 10 to 15 times as long. Threads that sleep at once
    are slow to wake: on two idle cores a step of `lcvd-tiny` took 0.43 s, with this count 0.19 s.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def step_back() -> None:
    """Let the calling thread run where others leave a core free: its niceness rises.

    Linux alone has a niceness for each thread, and lets each raise its own. Elsewhere, and where
    a sandbox forbids it, the thread stays as it is.
    """
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    with suppress(OSError):
        now = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(now + _STEP, _NICEST))
