"""Where clips come from: folders, globs, URLs and lists, as one sorted stream of entries.

What is listed:

- A **folder**: every file in it and below whose suffix is one of videos (for the layout
  ``ffhq``: of pictures). Hidden files and folders are left out. Links to folders are followed,
  each folder once, so that no loop is. A folder *named* like a video is an entry with an error.
- A **file** named directly, or matched by a **glob** (``**`` goes down): always, whatever
  its suffix.
- Any **fsspec URL** (``s3://bucket/clips``, ``memory://a/*.mp4``): the same rules.
- A **CSV or Parquet list** (by suffix) with a column ``uri`` (a URI, percent-encoded) or ``path``
  (a file as it is called, relative to the list's folder), and optionally ``size``,
  ``mtime_ns`` and ``identity``.

Nothing here opens a clip: an entry that cannot be read says why in ``error``.
"""

import glob
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from catalog.entries import (
    Entry,
    filesystem_of,
    local_copy,
    local_entry,
    local_path,
    make_entry,
    mtime_ns_of,
    open_source,
    remote_uri,
)
from catalog.layouts import check_layout
from catalog.lists import list_file
from catalog.tables import clean
from infra.errors import SourceError, UsageError

__all__ = ["Entry", "list_source", "local_copy", "open_source"]

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv"),
    }
)
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_LISTS = (".csv", ".parquet")


def list_source(source: str, layout: str) -> Iterator[Entry]:
    """Everything that ``source`` names, in an order that depends on the names alone.

    Args:
        source: Folder, file, glob, fsspec URL, or list (see the module).
        layout: How file names are read (`catalog.layouts`).

    Raises:
        UsageError: There is no such layout, source or column.
        SourceError: A remote source cannot be listed now.
    """
    check_layout(layout)
    suffixes = IMAGE_SUFFIXES if layout == "ffhq" else VIDEO_SUFFIXES
    if PurePosixPath(source).suffix.lower() in _LISTS:
        yield from list_file(source, layout)
    elif "://" in source and not source.startswith("file://"):
        yield from _list_remote(source, layout, suffixes)
    else:
        yield from _list_local(local_path(source), layout, suffixes)


def _list_local(source: Path, layout: str, suffixes: frozenset[str]) -> Iterator[Entry]:
    if source.is_dir():
        for path in _walk(source, suffixes, set()):
            yield local_entry(path, str(path.relative_to(source)), layout)
    elif os.path.lexists(source):  # also a link that leads nowhere: its entry says so
        yield local_entry(source, source.name, layout)
    elif glob.has_magic(str(source)):
        # pathlib's glob leaves out links that lead nowhere; these shall be told of.
        found = glob.glob(str(source), recursive=True)  # noqa: PTH207
        for name in sorted(set(found), key=os.fsencode):
            if not Path(name).is_dir() or Path(name).suffix.lower() in suffixes:
                yield local_entry(Path(name), Path(name).name, layout)
    else:
        raise UsageError(
            f"the source {clean(str(source))} does not exist",
            hint="name a folder, a file, a glob in quotes, a URL, or a CSV or Parquet list",
        )


def _walk(folder: Path, suffixes: frozenset[str], seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Media files below ``folder``, by name; every folder once, whatever links lead to it."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    try:
        with os.scandir(folder) as listing:
            found = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    except OSError:
        yield folder  # its entry says that it cannot be read
        return
    for entry in found:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if path.suffix.lower() in suffixes:
            yield path
        elif os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where it may not look
            yield from _walk(path, suffixes, seen)


def _list_remote(source: str, layout: str, suffixes: frozenset[str]) -> Iterator[Entry]:
    filesystem, root = filesystem_of(source)
    try:
        if glob.has_magic(root):
            found, named = filesystem.glob(root, detail=True), True
        elif filesystem.isdir(root):
            found, named = filesystem.find(root, detail=True), False
        else:
            found, named = {root: filesystem.info(root)}, True
    except FileNotFoundError as error:
        raise UsageError(f"the source {source} does not exist") from error
    except Exception as error:  # every fsspec backend raises its own
        raise SourceError(
            f"the source {source} cannot be listed: {type(error).__name__}: {error}"
        ) from error
    for path, info in sorted(found.items()):
        name = PurePosixPath(path)
        label = name.name if named else path.removeprefix(root).lstrip("/")
        hidden = any(part.startswith(".") for part in PurePosixPath(label).parts)
        if info.get("type") == "directory" or (not named and hidden):
            continue
        if named or name.suffix.lower() in suffixes:
            uri = remote_uri(filesystem.unstrip_protocol(path))
            size = int(info.get("size") or 0)
            yield make_entry(uri, label, layout, size=size, mtime_ns=mtime_ns_of(info))
