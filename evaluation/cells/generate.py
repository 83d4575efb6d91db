"""One method on one case: its film, checked frame by frame, and what it cost."""

import errno
import os
import platform
import resource
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from evaluation.cells.cell import Cell
from evaluation.cells.places import Places
from evaluation.cells.rows import Row, about, failed
from evaluation.methods.base import Method, MethodError, Picture, Scratch
from evaluation.protocols.lossless import DamagedFilm, check_picture, keep_film
from infra.errors import LakeError

_END = object()

_FULL = {errno.ENOSPC, errno.EDQUOT}


def generate(method: Method, cell: Cell, places: Places, scratch: Path) -> Row:
    """Let a method, which is set up, make its film of a cell.

    Whatever is wrong with the method or with its film is the row's reason. What is wrong with the
    machine is raised: it says nothing of the method.

    Args:
        method: The cell's.
        cell: What it is given.
        places: Where the film is kept.
        scratch: Folder for its temporary files.

    Raises:
        DamagedFilm: What the method was given is not what was written.
        LakeError: The disk is full or read-only.
        MemoryError: There is not enough memory.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch) as folder, Meter() as meter:
        given = Scratch(Path(folder), cell.case.draw, cell.case.name)
        pictures = _asked(method, cell, given, meter)
        try:
            film = keep_film(places.films, pictures, cell.subject.film.fps)
        except _UselessError as error:
            return failed(cell, str(error))
    return Row(
        cell.id,
        about(cell),
        "done",
        film=film,
        seconds_per_frame=meter.seconds / film.frames,
        peak_bytes=meter.peak_bytes,
        peak_gpu_bytes=meter.peak_gpu_bytes,
        made=machine(),
    )


class Meter:
    """Seconds and memory that a method takes; a context manager around its work.

    The memory is the whole process's: what torch and the models hold is part of it.

    Attributes:
        seconds: Spent so far between `start` and `stop`.
        peak_bytes: Most memory that the process held within; known afterwards.
        peak_gpu_bytes: Most memory that torch held on a GPU; None where there is none.
    """

    seconds = 0.0
    peak_bytes = 0
    peak_gpu_bytes: int | None = None

    def __enter__(self) -> Self:
        _forget_peak()
        if cuda := _cuda():
            cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *exc: object) -> None:
        self.peak_bytes = _peak()
        if cuda := _cuda():
            self.peak_gpu_bytes = int(cuda.max_memory_allocated()) or None

    def start(self) -> None:
        """The method's turn begins."""
        self._since = perf_counter()

    def stop(self) -> None:
        """Its turn ends: the film is written on nobody's account."""
        self.seconds += perf_counter() - self._since


def machine() -> dict[str, Any]:
    """What rows are made on, in JSON types."""
    told = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        told["torch"] = str(torch.__version__)
        if torch.cuda.is_available():
            told["gpu"] = str(torch.cuda.get_device_name())
    return told


class _UselessError(Exception):
    """The method, or what it gave, is of no use; the message says why."""


def _asked(method: Method, cell: Cell, scratch: Scratch, meter: Meter) -> Iterator[NDArray[Any]]:
    """The method's frames: as many as asked for, of the right kind, or `_UselessError`."""
    driving = cell.subject.film
    count = 0
    with closing(_timed(method, cell, scratch, meter)) as given:
        for picture in given:
            if count == driving.frames:
                raise _UselessError(f"it gave more than the {driving.frames} frames of the clip")
            try:
                check_picture(picture, count, driving.size)
            except ValueError as error:
                raise _UselessError(str(error)) from error
            count += 1
            yield picture
    if count < driving.frames:
        raise _UselessError(f"it gave {count} of the clip's {driving.frames} frames")


def _timed(
    method: Method, cell: Cell, scratch: Scratch, meter: Meter
) -> Generator[NDArray[Any], None, None]:
    """The method's frames as they come; what it raises is told in words."""
    try:
        meter.start()
        frames = _ask(method, cell, scratch)
        while (picture := next(frames, _END)) is not _END:
            meter.stop()
            yield cast("NDArray[Any]", picture)
            meter.start()
        meter.stop()
    except (GeneratorExit, MemoryError, DamagedFilm, LakeError):
        raise
    except MethodError as error:
        raise _UselessError(str(error)) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        raise _UselessError(f"{type(error).__name__}: {error}") from error


def _ask(method: Method, cell: Cell, scratch: Scratch) -> Iterator[Picture]:
    driving = cell.subject.film
    if cell.mode == "relight":
        if cell.light is None:
            raise MethodError("no light was asked for")
        return iter(method.relight(driving, cell.light.light, scratch))
    if cell.reference is None:
        raise MethodError("no portrait was given")
    portrait = next(cell.reference.film.pictures())
    return iter(method.animate(driving, portrait, scratch))


def _cuda() -> Any:
    """Torch's CUDA, where it is in use; None else."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _forget_peak() -> None:
    """Let the kernel's high-water mark begin anew; where that is not allowed it stays older."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> int:
    """Most bytes that this process ever had in memory since `_forget_peak`."""
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
