"""Films as they are judged: square, lossless, and known by what is in them.

FFV1 in Matroska keeps every bit of RGB at half its bytes or fewer; any player shows it. A film is
known by the digest of its frames, not of its file: what an encoder writes may change.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from infra.errors import LakeError
from infra.storage import fsync_path, lake_errors

Picture = NDArray[np.uint8]
"""(S, S, 3), RGB."""

SUFFIX = ".mkv"

_CODED = "bgr0"  # the one form of 8-bit RGB that FFV1 has, and a mere shuffle of ours


class DamagedFilm(Exception):  # noqa: N818 - a finding, not a failure of ours
    """A film's file is not what was written; the message says how, for a person.

    Args:
        path: The file.
        what: What is wrong with it, to follow its name.
    """

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(path, what)
        self.path = path
        self.what = what

    def __str__(self) -> str:
        return f"the film {self.path} {self.what}"


@dataclass(frozen=True)
class Film:
    """A lossless film.

    Attributes:
        path: The file.
        digest: Of its rate, its size and its frames (see `Digest`).
        frames: How many.
        size: Width and height in pixels.
        fps: Frames a second.
    """

    path: Path
    digest: str
    frames: int
    size: int
    fps: Fraction

    def pictures(self) -> Iterator[Picture]:
        """Its frames, one after the other, as they were.

        Raises:
            DamagedFilm: At the end, if they are not; earlier where they cannot be read.
        """
        return _checked(self)

    def to_json(self) -> dict[str, Any]:
        """JSON types; see `from_json`."""
        return {
            "path": str(self.path),
            "digest": self.digest,
            "frames": self.frames,
            "size": self.size,
            "fps": str(self.fps),
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """The film that `to_json` told of."""
        return cls(
            Path(told["path"]), told["digest"], told["frames"], told["size"], Fraction(told["fps"])
        )


class Digest:
    """SHA-256 of frames as they come: of rate and shape first, then of the raw RGB bytes.

    Args:
        size: Width and height of the frames.
        fps: Frames a second.
    """

    def __init__(self, size: int, fps: Fraction) -> None:
        self._sha = hashlib.sha256(f"{size}x{size}x3 uint8 at {fps};".encode())

    def add(self, picture: Picture) -> None:
        """Take in the next frame."""
        self._sha.update(np.ascontiguousarray(picture).data)

    def text(self) -> str:
        """64 hexadecimal digits."""
        return self._sha.hexdigest()


def write_film(path: Path, frames: Iterable[NDArray[Any]], fps: Fraction) -> Film:
    """Write frames losslessly; a reader finds the whole film, or none.

    Args:
        path: The file; its folder is made where it is missing.
        frames: Pictures (S, S, 3), uint8 RGB, all of one size; or (n, S, S, 3) at once.
        fps: Frames a second.

    Raises:
        ValueError: A frame is none (its number is told), or there is not one.
        LakeError: The disk is full or read-only.
    """
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    with lake_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            film = _encode(temporary, frames, fps)
            fsync_path(temporary)
            temporary.rename(path)
            fsync_path(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    return Film(path, film.digest, film.frames, film.size, film.fps)


def keep_film(folder: Path, frames: Iterable[NDArray[Any]], fps: Fraction) -> Film:
    """Write frames under the name of their digest, ``<folder>/<digest>.mkv``.

    Raises:
        ValueError: As `write_film`.
        LakeError: As `write_film`.
    """
    made = write_film(folder / f".{uuid4().hex}.tmp", frames, fps)
    final = folder / f"{made.digest}{SUFFIX}"
    with lake_errors(final):
        made.path.rename(final)  # over an equal one, if there is one
        fsync_path(folder)
    return Film(final, made.digest, made.frames, made.size, made.fps)


def read_film(film: Film, batch: int = 16) -> Iterator[NDArray[np.uint8]]:
    """A film's frames in batches (n, S, S, 3), C-contiguous; the last may be shorter.

    Raises:
        ValueError: ``batch`` is less than 1.
        DamagedFilm: At the end, if they are not those that were written; earlier where they
            cannot be read.
    """
    if batch < 1:
        raise ValueError(f"batches of {batch} frames: at least 1 is needed")
    held: list[Picture] = []
    for picture in film.pictures():
        held.append(picture)
        if len(held) == batch:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)


@contextmanager
def made_anew() -> Iterator[None]:
    """Remove a film that is found damaged, and say so: the next run makes it anew.

    Raises:
        LakeError: In place of `DamagedFilm`.
    """
    try:
        yield
    except DamagedFilm as error:
        with lake_errors(error.path):
            error.path.unlink(missing_ok=True)
        raise LakeError(f"{error}", hint="run the same command again: it is made anew") from error


def check_picture(picture: NDArray[Any], index: int, size: int | None) -> None:
    """Make sure that a frame is one.

    Args:
        picture: What should be (S, S, 3), uint8.
        index: Its number, for the error.
        size: The S that is needed; None for any.

    Raises:
        ValueError: It is not; the message says what it is instead.
    """
    if not isinstance(picture, np.ndarray):
        raise ValueError(f"frame {index} is a {type(picture).__name__}, not an array")
    if picture.dtype.kind == "f" and not np.isfinite(picture).all():
        raise ValueError(f"frame {index} holds numbers that are not finite")
    if picture.dtype != np.uint8:
        raise ValueError(f"frame {index} is {picture.dtype}, not uint8")
    side = size or (picture.shape[0] if picture.ndim else 0)
    if picture.shape != (side, side, 3) or not side:
        wanted = f"({side}, {side}, 3)" if size else "a square, (S, S, 3),"
        raise ValueError(f"frame {index} has the shape {picture.shape}; {wanted} is needed")


def _encode(path: Path, frames: Iterable[NDArray[Any]], fps: Fraction) -> Film:
    count, size = 0, None
    # The same frames, the same bytes: no dates, no random identifiers, one thread.
    options = {"fflags": "+bitexact"}
    with av.open(f"file:{path}", "w", format="matroska", container_options=options) as container:
        for picture in frames:
            check_picture(picture, count, size)
            if size is None:
                size = len(picture)
                digest = Digest(size, fps)
                coding = {"level": "3", "slicecrc": "1"}
                stream = container.add_stream("ffv1", rate=fps, options=coding)
                codec = stream.codec_context
                codec.width = codec.height = size
                codec.pix_fmt, codec.gop_size, codec.thread_count = _CODED, 1, 1
                codec.time_base = 1 / fps
                codec.flags |= av.codec.context.Flags.bitexact
            digest.add(picture)
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format=_CODED, threads=1)
            frame.pts, frame.time_base = count, 1 / fps
            container.mux(stream.encode(frame))
            count += 1
        if size is None:
            raise ValueError("a film of no frames: at least 1 is needed")
        container.mux(stream.encode(None))
    return Film(path, digest.text(), count, size, fps)


def _checked(film: Film) -> Iterator[Picture]:
    digest, count = Digest(film.size, film.fps), 0
    try:
        with film.path.open("rb") as file, av.open(file, "r", format="matroska") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                digest.add(picture)
                count += 1
                yield picture
    except FileNotFoundError as error:
        raise DamagedFilm(film.path, "is not there") from error
    except (FFmpegError, IndexError) as error:
        raise DamagedFilm(film.path, f"cannot be read: {error}") from error
    if count != film.frames:
        raise DamagedFilm(film.path, f"has {count} frames, not {film.frames}")
    if digest.text() != film.digest:
        raise DamagedFilm(film.path, "is not what was written")
