"""One driver a folder: a lock on it, which the kernel lets go of when its holder dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import UsageError
from infra.storage import lake_errors

_NAME = ".lock"
_CLAIM_SECONDS = 1.0
"""How long the lock may look taken because somebody else is just trying it."""


@contextmanager
def hold(folder: Path, busy: str, hint: str) -> Iterator[None]:
    """Be the one that works in a folder, while inside.

    Args:
        folder: Made where it is missing.
        busy: What to say where somebody else is at work.
        hint: What to do then.

    Raises:
        UsageError: Somebody else is.
        LakeError: The folder cannot be written.
    """
    with lake_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + _CLAIM_SECONDS
        while not _lock(handle, fcntl.LOCK_EX):
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise UsageError(busy, hint=hint)
        yield
    finally:
        os.close(handle)


def held(folder: Path) -> bool:
    """Whether somebody works in a folder now."""
    try:
        handle = os.open(folder / _NAME, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _lock(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def _lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
