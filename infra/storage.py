"""Durable writes: temporary name, fsync, verify by reading back, rename, fsync the folder.

A reader sees the old file, the new file, or none: never a torn one.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from infra.digests import digest_file
from infra.errors import LakeError
from infra.faults import fault_point

_LAKE_ERRNO = {
    errno.ENOSPC: ("is full", "free some space and run the same command again: it resumes"),
    errno.EDQUOT: ("is over its quota", "raise the quota and run the same command again"),
    errno.EROFS: ("is read-only", "remount it writable, or choose another lake with --lake"),
    errno.EACCES: ("may not be written", "check its permissions, or choose another with --lake"),
    errno.EPERM: ("may not be written", "check its permissions, or choose another with --lake"),
}


@contextmanager
def lake_errors(where: Path) -> Iterator[None]:
    """Turn 'disk full', 'read-only' and 'not allowed' into a :class:`LakeError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _LAKE_ERRNO:
            raise
        what, hint = _LAKE_ERRNO[error.errno]
        raise LakeError(f"the lake {what} (writing {where})", hint=hint) from error


def fsync_path(path: Path) -> None:
    """Flush a file's data, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def commit_file(temporary: Path, final: Path, *, digest: str, point: str) -> None:
    """Give a finished temporary file its final name, durably.

    Args:
        temporary: The written file, on the same file system as ``final``.
        final: The name under which readers will find it; its folder is made if missing.
        digest: SHA-256 that the bytes must still have when read back.
        point: Prefix of the fault points passed (``<point>.fsync.before`` and so on).

    Raises:
        LakeError: The lake is full or read-only, or the bytes read back are not ``digest``.
    """
    with lake_errors(final):
        fault_point(f"{point}.fsync.before")
        fsync_path(temporary)
        fault_point(f"{point}.fsync.after")
        if digest_file(temporary) != digest:
            raise LakeError(
                f"{temporary} reads back with another digest than was written",
                hint="the disk or its memory is failing: check it before you go on",
            )
        final.parent.mkdir(parents=True, exist_ok=True)
        fault_point(f"{point}.rename.before")
        temporary.rename(final)
        fault_point(f"{point}.rename.after")
        fsync_path(final.parent)


def write_atomic(final: Path, data: bytes, *, point: str) -> None:
    """Write ``data`` under the name ``final`` so that no reader ever sees a part of it."""
    temporary = final.with_name(f".{final.name}.{uuid4().hex}.tmp")
    with lake_errors(final):
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            fault_point(f"{point}.write.before")
            temporary.write_bytes(data)
            fault_point(f"{point}.write.after")
            fsync_path(temporary)
            fault_point(f"{point}.rename.before")
            temporary.rename(final)
            fault_point(f"{point}.rename.after")
            fsync_path(final.parent)
        finally:
            temporary.unlink(missing_ok=True)
