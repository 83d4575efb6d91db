"""The folder of fetched weights: what many processes may share, and how they keep out of it.

::

    <cache>/weights/
      <digest>/<file>              an original, under the first 16 digits of its sha256
      <digest>/<file>.<how>.safetensors  what was read out of it, with its own .sha256 beside it
      pins.toml                    digests of files whose publisher names none
      partial/                     downloads that broke off
      known/                       digests of files that have not changed since
"""

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from infra.digests import digest_bytes, digest_file
from infra.errors import WeightsError
from infra.settings import load_settings
from infra.storage import fsync_path

SETTLED = 2_000_000_000
"""Nanoseconds after which a file's time tells a later change apart, on any file system."""

LARGEST = 8 << 30
"""Bytes that a file whose size is not published may have; LCVD's UNet has 6.1e9."""


def cache_folder() -> Path:
    """Folder in which fetched weights are kept (``LIMELIGHT_CACHE``)."""
    return load_settings().cache / "weights"


@contextmanager
def cache_errors() -> Iterator[None]:
    """Turn what the system says of the cache into an error for people."""
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"cannot write the cache {cache_folder()}: {error.strerror or error}",
            hint="free some space there, or name another folder in LIMELIGHT_CACHE",
        ) from error


@contextmanager
def locked(key: str) -> Iterator[None]:
    """Hold the cache's lock for ``key``; the system lets go of it if we die."""
    with cache_errors():
        cache_folder().mkdir(parents=True, exist_ok=True)
        path = cache_folder() / f".{key.replace('/', '_')}.lock"
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def scratch_file() -> Iterator[Path]:
    """A name in the cache for a file in the making; gone afterwards, if it still is there."""
    path = cache_folder() / f".{uuid4().hex}.tmp"
    with cache_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        with suppress(OSError):  # on a disk that is only read, even what never was
            path.unlink(missing_ok=True)


def settle(temporary: Path, final: Path) -> None:
    """Give a finished file its final name, so that no reader ever sees a part of it."""
    with cache_errors():
        fsync_path(temporary)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(final)
        fsync_path(final.parent)


def write_chunks(target: Path, chunks: Iterable[bytes]) -> int:
    """Write a file of the cache, and tell its bytes; what breaks the chunks is not blamed on it."""
    with cache_errors():
        file = target.open("wb")
    with file:
        for chunk in chunks:
            with cache_errors():
                file.write(chunk)
        return file.tell()


def write_text(final: Path, text: str) -> None:
    """Write a small file of the cache so that no reader ever sees a part of it."""
    with scratch_file() as temporary:
        with cache_errors():
            temporary.write_text(text)
        settle(temporary, final)


def known_digest(path: Path, *, trust: bool = True) -> str:
    """SHA-256 of a file, hashed again only if it may have changed.

    Args:
        path: The file.
        trust: Believe what was noted of a file that has kept its size and times; hash it
            in any case otherwise.

    Raises:
        FileNotFoundError: There is no such file.
    """
    stamp = _stamp(path)
    note = cache_folder() / "known" / f"{digest_bytes(str(stamp[0]).encode())[:16]}.json"
    if trust:
        with suppress(OSError, ValueError):
            told = json.loads(note.read_text())
            if told[:-1] == stamp:
                return str(told[-1])
    begun = time.time_ns()
    digest = digest_file(path)
    # A file written a moment ago may be written again without a new time.
    if begun - int(max(stamp[2:])) > SETTLED and _stamp(path) == stamp:
        with suppress(WeightsError):  # it only saves time
            write_text(note, json.dumps([*stamp, digest]))
    return digest


def _stamp(path: Path) -> list[str | int]:
    stat = path.stat()
    return [str(path.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
