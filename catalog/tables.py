"""Append-only Delta tables on the local disk, read through DuckDB."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from infra.errors import LakeError
from infra.faults import fault_point
from infra.storage import lake_errors

MEMORY = "1GB"
_TRIES = 8
_OS_ERROR = re.compile(r"os error (\d+)|Os \{ code: (\d+)")
_PARQUET = WriterProperties(compression="ZSTD")


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table.

    Attributes:
        path: Where it lies.
        partition: Value of each partition column.
        least: Least value of each column in it that has statistics.
        most: Greatest value of each column in it that has statistics.
    """

    path: Path
    partition: dict[str, str]
    least: dict[str, Any]
    most: dict[str, Any]


class Table:
    """A Delta table that only grows.

    Args:
        path: The table's folder.
        schema: Of every row.
        point: Prefix of the fault points that an append passes.
        partition_by: Columns whose values become folders.
        statistics: Columns of which each file's least and greatest value are kept.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        point: str,
        partition_by: Sequence[str] = (),
        statistics: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.schema = schema
        self._point = point
        self._partition_by = list(partition_by)
        self._statistics = list(statistics)

    def create(self) -> None:
        """Make the empty table, unless it is there.

        Raises:
            LakeError: The disk is full or read-only.
        """
        with _delta_errors(self.path):
            try:
                DeltaTable.create(
                    self.path.as_uri(),
                    self.schema,
                    mode="ignore",
                    partition_by=self._partition_by,
                    configuration={"delta.dataSkippingStatsColumns": ",".join(self._statistics)},
                )
            except CommitFailedError:
                # Another process created it in the same moment; an open proves it.
                DeltaTable(self.path.as_uri())

    def append(self, rows: pa.Table) -> None:
        """Add ``rows`` in one transaction: after a crash all of them are there, or none.

        Appends of other processes at the same time do not conflict; the commit is retried
        until it has found its place in the log.

        Raises:
            LakeError: The disk is full or read-only, or there is no table.
        """
        if not rows.num_rows:
            return
        with _delta_errors(self.path):
            fault_point(f"{self._point}.commit.before")
            for attempt in range(_TRIES):
                try:
                    write_deltalake(
                        DeltaTable(self.path.as_uri()),  # by its name a missing one is created
                        rows.cast(self.schema),
                        mode="append",
                        writer_properties=_PARQUET,
                    )
                    break
                except CommitFailedError:
                    if attempt == _TRIES - 1:
                        raise
                    time.sleep(0.05 * 2**attempt)
            fault_point(f"{self._point}.commit.after")

    def files(self) -> list[DataFile]:
        """The Parquet files that make up the table now, sorted by path.

        Raises:
            LakeError: There is no table.
        """
        with _delta_errors(self.path):
            actions = pa.table(DeltaTable(self.path.as_uri()).get_add_actions(flatten=True))
        files = []
        for row in actions.to_pylist():
            # The log percent-encodes paths (a partition's value may hold anything).
            path = self.path / unquote(row["path"])
            parts = {
                kind: {k.partition(".")[2]: v for k, v in row.items() if k.startswith(f"{kind}.")}
                for kind in ("partition", "min", "max")
            }
            files.append(DataFile(path, parts["partition"], parts["min"], parts["max"]))
        return sorted(files, key=lambda file: file.path)

    def compact(self, *, files: int = 0) -> int:
        """Merge small files into large ones; readers and writers go on undisturbed.

        Args:
            files: Only if there are more than this.

        Returns:
            How many files were merged away; 0 where another process was at it too.
        """
        if len(self.files()) <= files:
            return 0
        with _delta_errors(self.path):
            try:
                merged = DeltaTable(self.path.as_uri()).optimize.compact(writer_properties=_PARQUET)
            except CommitFailedError:
                return 0  # somebody else compacted meanwhile: nothing left to do
        return int(merged["numFilesRemoved"])

    def vacuum(self, grace: float, *, dry_run: bool) -> list[Path]:
        """Remove data files that no commit of the last ``grace`` seconds names.

        These are the small files that a compaction replaced, and what a killed append left.

        Returns:
            The files removed (with ``dry_run``: that would be).
        """
        with _delta_errors(self.path):
            names = DeltaTable(self.path.as_uri()).vacuum(
                retention_hours=max(1, round(grace / 3600)),
                dry_run=dry_run,
                enforce_retention_duration=False,
                full=True,
            )
        return [self.path / unquote(name) for name in names]


def connect(spill: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own in memory, which fetches nothing and spills to ``spill`` only."""
    return duckdb.connect(
        config={
            "memory_limit": MEMORY,
            "temp_directory": str(spill),
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
        }
    )


def view(
    connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path], schema: pa.Schema
) -> None:
    """Create the view ``name`` over Parquet ``files``.

    Beside the columns of ``schema`` it has ``filename`` and ``file_row_number``, which
    together tell rows apart that are equal in all else.
    """
    columns = ", ".join(quoted(column) for column in schema.names)
    if files:
        names = ", ".join(literal(str(path)) for path in files)
        source = (
            f"read_parquet([{names}], hive_partitioning = true, hive_types_autocast = false, "
            "filename = true, file_row_number = true)"
        )
        connection.execute(
            f"create view {quoted(name)} as "
            f"select {columns}, filename, file_row_number from {source}"
        )
    else:
        place = [pa.field("filename", pa.string()), pa.field("file_row_number", pa.int64())]
        connection.register(name, pa.schema([*schema, *place]).empty_table())


def last_rows(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    source: str,
    schema: pa.Schema,
    keys: Sequence[str],
    last_first: str,
) -> None:
    """Create the view ``name`` that holds, of the rows of each key, the last.

    Sorting millions of rows into groups would take seconds, and nearly every key has one row.
    So first the keys' digests are counted, and only rows whose digest is there more than
    once are sorted by their keys (two keys with one digest are so told apart again).

    Args:
        connection: Where to create it.
        name: Of the view.
        source: An SQL relation made by :func:`view`, filtered at most.
        schema: Of the rows.
        keys: Columns that make up the key.
        last_first: SQL order that puts a key's last row first; ties are broken by the place
            in the files.
    """
    key = ", ".join(keys)
    again, past = quoted(f"{name}_again"), quoted(f"{name}_past")
    connection.execute(
        f"create temp table {again} as "
        f"select hash({key}) as digest from {source} group by all having count(*) > 1"
    )
    if connection.execute(f"from {again} limit 1").fetchone():
        connection.execute(
            f"create temp table {past} as select filename, file_row_number "
            f"from (select *, hash({key}) as digest from {source}) "
            f"semi join {again} using (digest) qualify row_number() over (partition by {key} "
            f"order by {last_first}, filename desc, file_row_number desc) > 1"
        )
        source = f"(from {source} anti join {past} using (filename, file_row_number))"
    columns = ", ".join(quoted(column) for column in schema.names)
    connection.execute(f"create view {quoted(name)} as select {columns} from {source}")


def literal(text: str) -> str:
    """``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def clean(text: str) -> str:
    """``text`` as valid UTF-8: what cannot be encoded is shown as a backslash escape."""
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def _delta_errors(where: Path) -> Iterator[None]:
    """Turn delta-rs's errors into a :class:`LakeError` that says what to do.

    delta-rs wraps the operating system's error in text; its number is read back out of it.
    """
    with lake_errors(where):
        try:
            yield
        except TableNotFoundError as error:
            raise LakeError(
                f"the lake has no table {where}",
                hint="name the right lake with --lake; or restore its folder from a backup",
            ) from error
        except DeltaError as error:
            if match := _OS_ERROR.search(str(error)):
                number = int(match[1] or match[2])
                raise OSError(number, str(error), str(where)) from error
            raise LakeError(
                f"the table {where} failed: {error}",
                hint="run the same command again; if it stays, check the disk",
            ) from error
