"""One method on one case: its film, checked frame by frame, and what it cost."""

import errno
import os
import platform
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from evaluation.cells import gpu
from evaluation.cells.cell import Cell
from evaluation.cells.meter import Held, Meter
from evaluation.cells.places import Places
from evaluation.cells.rows import Outcome, Row, about, failed
from evaluation.methods.base import Method, MethodError, Picture, Scratch
from evaluation.protocols.lossless import DamagedFilm, check_picture, keep_film
from infra.errors import LakeError, WeightsError

_END = object()

_FULL = {errno.ENOSPC, errno.EDQUOT}


def generate(
    method: Method,
    cell: Cell,
    places: Places,
    scratch: Path,
    others: Held = Held(),  # noqa: B008 - frozen
) -> Row:
    """Let a method, which is set up, make its film of a cell.

    Whatever is wrong with the method or with its film is the row's reason. What is wrong with the
    machine is raised: it says nothing of the method. Nor does a GPU that others have filled, or a
    package that is missing: the row is `unavailable`, and is tried again by the next run.

    Args:
        method: The cell's.
        cell: What it is given.
        places: Where the film is kept.
        scratch: Folder for its temporary files.
        others: What this process holds that is not the method's (`Meter`).

    Raises:
        DamagedFilm: What the method was given is not what was written.
        LakeError: The disk is full or read-only.
        MemoryError: There is not enough memory.
        torch.AcceleratorError: The GPU is of no use to this process any more.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch) as folder, Meter(others) as meter:
        given = Scratch(Path(folder), cell.case.draw, cell.case.name)
        pictures = _asked(method, cell, given, meter)
        try:
            film = keep_film(places.films, pictures, cell.subject.film.fps)
        except _UselessError as error:
            reason = _anywhere(str(error), Path(folder), places.root)
            return failed(cell, reason, outcome=error.outcome)
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


def _anywhere(reason: str, scratch: Path, root: Path) -> str:
    """A reason without our folders: the same on any machine, and whenever it is told."""
    spellings = {str(spelt) for spelt in (scratch, scratch.absolute(), scratch.resolve())}
    for folder in sorted(spellings, key=len, reverse=True):
        reason = reason.replace(f"{folder}/", "").replace(folder, "its scratch folder")
    for kept in (root.resolve(), root.absolute()):
        reason = reason.replace(f"{kept}/", "")
    return reason


class _UselessError(Exception):
    """The method, or what it gave, is of no use; the message says why."""

    def __init__(self, reason: str, outcome: Outcome = "failed") -> None:
        super().__init__(reason)
        self.outcome = outcome


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
        if gpu.is_lost(error) or (isinstance(error, OSError) and error.errno in _FULL):
            raise
        lacking = gpu.is_full(error) or isinstance(error, WeightsError | ImportError)
        outcome: Outcome = "unavailable" if lacking else "failed"
        raise _UselessError(f"{type(error).__name__}: {error}", outcome) from error


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
