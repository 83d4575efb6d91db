"""Sources given as a list: a CSV or a Parquet file."""

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.entries import (
    Entry,
    ascii_uri,
    local_path,
    local_uri,
    make_entry,
    read_entry,
    remote_uri,
)
from infra.errors import SourceError, UsageError

COLUMNS = ("uri", "path", "size", "mtime_ns", "identity")


def list_file(source: str, layout: str) -> Iterator[Entry]:
    """Entries of a list, in its own order; a line named twice comes once.

    Args:
        source: Path or fsspec URL of a ``.csv`` (UTF-8, with a header) or ``.parquet`` file.
        layout: How file names are read where the list has no ``identity``.

    Raises:
        UsageError: The list does not exist, or lacks a column ``uri`` or ``path``, or a value
            is none.
        SourceError: The list cannot be read now.
    """
    seen: set[str] = set()
    for number, row in enumerate(_rows(source), start=1):
        uri, name = _place(row, source, number)
        if uri in seen:
            continue
        seen.add(uri)
        identity = str(row.get("identity") or "")
        known = {"identity": identity} if identity else {}
        if row.get("size") and row.get("mtime_ns"):
            # The list vouches for both, so that a million remote clips need no look-up.
            size = _whole(row, "size", source, number)
            mtime_ns = _whole(row, "mtime_ns", source, number)
            yield make_entry(uri, name, layout, size=size, mtime_ns=mtime_ns, **known)
            continue
        found = read_entry(uri, name, layout)
        yield make_entry(
            uri,
            name,
            layout,
            size=found.size,
            mtime_ns=found.mtime_ns,
            error=found.error,
            **known,
        )


def _rows(source: str) -> Iterator[dict[str, Any]]:
    where = str(local_path(source)) if "://" not in source else source
    try:
        with fsspec.open(where, "rb") as file:
            if source.lower().endswith(".parquet"):
                table = pq.ParquetFile(file)
                columns = [name for name in COLUMNS if name in table.schema_arrow.names]
                _check(columns, source)
                for batch in table.iter_batches(columns=columns):
                    yield from batch.to_pylist()
                return
        with fsspec.open(where, "r", encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            _check(lines.fieldnames or (), source)
            yield from lines
    except FileNotFoundError as error:
        raise UsageError(f"the list {source} does not exist") from error
    except (csv.Error, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise UsageError(f"the list {source} cannot be understood: {error}") from error
    except OSError as error:
        raise SourceError(f"the list {source} cannot be read: {error}") from error


def _check(columns: Any, source: str) -> None:
    if not {"uri", "path"} & set(columns):
        raise UsageError(
            f"the list {source} has no column 'uri' or 'path' (it has: {', '.join(columns)})",
            hint=f"name its columns; known are {', '.join(COLUMNS)}",
        )


def _place(row: dict[str, Any], source: str, number: int) -> tuple[str, str]:
    """URI and label of a row."""
    if uri := row.get("uri"):
        if "://" not in uri:
            raise UsageError(
                f"row {number} of {source}: {uri!r} is no URI", hint="use the column 'path'"
            )
        name = unquote(PurePosixPath(uri).name, errors="surrogateescape")
        return ascii_uri(uri), name
    path = row.get("path")
    if not path:
        raise UsageError(f"row {number} of {source} has neither uri nor path")
    if "://" in path:
        return remote_uri(path), PurePosixPath(path).name
    if "://" in source:
        return remote_uri(f"{source.rpartition('/')[0]}/{path}"), path
    return local_uri(Path(source).absolute().parent / path), path


def _whole(row: dict[str, Any], column: str, source: str, number: int) -> int:
    try:
        return int(row[column])
    except ValueError as error:
        raise UsageError(
            f"row {number} of {source}: {column} is {row[column]!r}, not a whole number"
        ) from error
