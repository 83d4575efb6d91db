"""What films and pictures have in common: how a source is opened, and what can be wrong."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import FileIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, BinaryIO, cast

from infra.errors import SourceError

MAX_PIXELS = 1 << 26
"""Pixels of a frame (8192 x 8192) beyond which no decoder is let loose: its memory
would be a matter of the header's honesty."""


class UnusableVideo(Exception):  # noqa: N818 - a finding, not a failure of ours
    """The file holds no usable video; the message tells a person why.

    Args:
        reason: One sentence.
        facts: What was learnt nevertheless.
    """

    def __init__(self, reason: str, facts: dict[str, Any] | None = None) -> None:
        super().__init__(reason, facts)
        self.reason = reason
        self.facts = facts or {}

    def __str__(self) -> str:
        return self.reason


class CorruptVideo(UnusableVideo):
    """Packets are damaged or missing; ``facts`` counts them (corrupt, frames, first_corrupt)."""


@dataclass(frozen=True)
class Headers:
    """What the headers claim; nothing of it is verified.

    Attributes:
        container: Name of the container format.
        codec: Name of the video codec.
        width: Width with square pixels, before rotation.
        height: Height with square pixels, before rotation.
        coded: Width and height as coded.
        sample_aspect: Width over height of a coded pixel.
        rate: Frames a second (see `stages.schedule.nominal_rate`).
        frames: Number of frames, estimated where the container does not count them.
        duration: Seconds; 0 if unknown.
        audio: Codec, sample rate and channels of the first sound stream, if there is one.
    """

    container: str
    codec: str
    width: int
    height: int
    coded: tuple[int, int]
    sample_aspect: Fraction
    rate: Fraction
    frames: int
    duration: float
    audio: dict[str, Any] | None = None


@contextmanager
def open_file(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    """Open a regular file for reading; what is open already (a remote file) stays as it is.

    FFmpeg gets the opened file, never its name: a name may look like a protocol
    (``http:``), an option, or a pattern of names.

    Raises:
        SourceError: It is not there, or may not be read.
        UnusableVideo: It is empty, or something else than a regular file.
    """
    if not isinstance(source, Path):
        yield source
        return
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(
            f"{os.fspath(source)!r} cannot be read: {why}",
            hint="check that it exists and may be read, then run the same command again",
        ) from error
    try:
        state = os.fstat(handle)
        if not S_ISREG(state.st_mode):
            kind = "a folder" if S_ISDIR(state.st_mode) else "a pipe, socket or device"
            raise UnusableVideo(f"it is {kind}, not a file")
        if state.st_size == 0:
            raise UnusableVideo("the file is empty")
        with FileIO(handle, closefd=False) as file:
            yield cast(BinaryIO, file)
    finally:
        os.close(handle)
