"""One driver a run: a lock on its folder, which the kernel lets go of when its holder dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from infra.errors import UsageError
from infra.storage import lake_errors
from training.loop.folder import RunFolder

_NAME = ".lock"
_CLAIM_SECONDS = 1.0
"""How long the lock may look taken because somebody else is just trying it."""


@contextmanager
def hold(folder: RunFolder) -> Iterator[None]:
    """Be the one that trains this run, while inside.

    Raises:
        UsageError: Somebody else does.
        LakeError: The run's folder cannot be written.
    """
    with lake_errors(folder.root):
        folder.root.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder.root / _NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + _CLAIM_SECONDS
        while not _lock(handle, fcntl.LOCK_EX):
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise UsageError(
                f"the run {folder.root.name} is being trained already",
                hint="follow it: limelight runs; or choose another name with --name",
            )
        yield
    finally:
        os.close(handle)


def held(folder: RunFolder) -> bool:
    """Whether somebody trains this run now."""
    try:
        handle = os.open(folder.root / _NAME, os.O_RDONLY)
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
