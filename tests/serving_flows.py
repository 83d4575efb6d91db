"""Tiny flows for the tests of serving, importable by name from any process."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.states import Cancelled, Completed, State

from flows.serving import CancelWatch, too_late


@flow(log_prints=True)
def add(left: int, right: int = 1) -> int:
    return left + right


@flow
def wait_for_cancel(seconds: float = 60.0) -> "State[Any] | str":
    """Ends early when somebody cancels it."""
    with CancelWatch(period=0.5) as watch:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if watch.cancelled():
                return Cancelled(message="as you wish")
            time.sleep(0.1)
    return "nobody cancelled"


@flow
def nightly(grace_seconds: float = 3600.0) -> "State[Any] | str":
    if too_late(timedelta(seconds=grace_seconds)):
        return Completed(name="SkippedLate")
    return "built"


@flow
def flaky(marker: str) -> str:
    """Fails the first time that it meets ``marker``."""
    if Path(marker).exists():
        return "done"
    Path(marker).touch()
    raise RuntimeError("the first time always fails")


@task
def nap(seconds: float) -> None:
    time.sleep(seconds)


@flow
def busy() -> None:
    nap(60.0)
