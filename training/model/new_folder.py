"""A folder of files that is there whole or not at all."""

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError

from infra.errors import LakeError, UsageError
from infra.faults import fault_point
from infra.storage import fsync_path, lake_errors


@contextmanager
def new_folder(folder: Path, *, known_by: str, replace: bool = False) -> Iterator[Path]:
    """A temporary folder to write into, which becomes ``folder`` at the end.

    All is flushed to the disk before it has its name. If anything fails nothing is left of it,
    and a folder that was to be replaced is there as before; if the process is killed, the next
    one that writes the same folder sees to that. Two must not write it at once.

    Args:
        folder: Its name.
        known_by: A file that every folder of this kind has: none other is ever replaced.
        replace: Put it in the place of one that is there.

    Raises:
        UsageError: There is something of that name already.
        LakeError: It cannot be written.
    """
    _sweep(folder)
    _check_free(folder, known_by, replace)
    new, old = (folder.with_name(f".{folder.name}.{uuid4().hex}.{end}") for end in ("new", "old"))
    try:
        with lake_errors(folder):
            new.mkdir(parents=True)
            yield new
            for path in files_in(new):
                fsync_path(path)
            for inner in (*(path for path in new.rglob("*") if path.is_dir()), new):
                fsync_path(inner)
            _check_free(folder, known_by, replace)
            _put(new, folder, old)
    except SafetensorError as error:  # which hides what the system said
        raise LakeError(
            f"cannot write {folder}: {error}", hint="see whether the disk is full or read-only"
        ) from error
    finally:
        for aside in (new, old):
            with suppress(FileNotFoundError):
                shutil.rmtree(aside)


def files_in(folder: Path) -> list[Path]:
    """Files of a folder and the folders in it, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _put(new: Path, folder: Path, old: Path) -> None:
    """Give a folder its name, and what had it another."""
    replaced = folder.exists()
    if replaced:
        folder.rename(old)
    try:
        fault_point("model.rename.before")
        new.rename(folder)
    except BaseException:
        if replaced:
            old.rename(folder)
        raise
    fsync_path(folder.parent)


def _sweep(folder: Path) -> None:
    """Undo what a process that was killed left behind."""
    name = glob.escape(folder.name)
    for old in folder.parent.glob(f".{name}.*.old"):
        if not folder.exists():
            old.rename(folder)
    for end in ("old", "new"):
        for left in folder.parent.glob(f".{name}.*.{end}"):
            shutil.rmtree(left)


def _check_free(folder: Path, known_by: str, replace: bool) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    if not replace:
        raise UsageError(f"there is {folder} already", hint="name another folder, or remove it")
    if folder.is_symlink() or not (folder / known_by).is_file():
        raise UsageError(
            f"{folder} is not replaced: it holds no {known_by}, so it is something else",
            hint="name another folder",
        )
