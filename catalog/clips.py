"""Which clips there are: one row per clip and place where its bytes were seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog.entries import Entry
from catalog.tables import Table, clean, connect, last_rows, quoted, view

SCHEMA = pa.schema(
    [
        ("clip", pa.string()),
        ("uri", pa.string()),
        ("label", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("layout", pa.string()),
        ("identity", pa.string()),
        ("run", pa.string()),
        ("added_at", pa.timestamp("us", tz="UTC")),
        ("frames", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.float64()),
        ("duration", pa.float64()),
        ("codec", pa.string()),
    ]
)

KEYS = ("clip", "uri")
# Rows that are equal in all of this are equal in all that matters.
LAST_FIRST = "added_at desc, clip, mtime_ns desc, run desc, label, layout, identity"


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ClipRow:
    """A clip seen at one place. Two rows of one clip with different uris are duplicates.

    Attributes:
        clip: Content id, 32 hexadecimal digits.
        uri: Where its bytes are, percent-encoded ASCII.
        label: Readable name, relative to the source listed.
        size: Bytes.
        mtime_ns: When the bytes last changed, ns since 1970; 0 where unknown.
        layout: Layout by which the name was read.
        identity: Who is seen, as far as the name tells.
        run: Build that took it up.
        added_at: When.
        frames: By the container's headers, which may lie (as all that follows); 0 = unknown.
        width: Pixels; 0 = unknown.
        height: Pixels; 0 = unknown.
        fps: Frames a second; 0 = unknown.
        duration: Seconds; 0 = unknown.
        codec: Name of the video codec.
    """

    clip: str
    uri: str
    label: str
    size: int
    mtime_ns: int
    layout: str
    identity: str
    run: str = ""
    added_at: datetime = field(default_factory=now)
    frames: int = 0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    duration: float = 0.0
    codec: str = ""


class ClipTable:
    """The table ``clips/``.

    Args:
        path: The table's folder.
        spill: Where a query may put what does not fit into memory.
    """

    def __init__(self, path: Path, *, spill: Path) -> None:
        self.table = Table(path, SCHEMA, point="clips", statistics=("clip",))
        self._spill = spill

    def append(self, rows: Sequence[ClipRow]) -> None:
        """Add rows in one transaction.

        Raises:
            LakeError: The disk is full or read-only.
        """
        columns = {
            name: [
                clean(value) if isinstance(value := getattr(row, name), str) else value
                for row in rows
            ]
            for name in SCHEMA.names
        }
        self.table.append(pa.table(columns, schema=SCHEMA))

    def known(self, entries: Iterable[Entry]) -> dict[str, ClipRow]:
        """Which of ``entries`` need not be read again, because nothing about them changed.

        Returns:
            ``{uri: row}`` of the entries that a row matches in uri, size and mtime. Entries
            without an mtime are never known: their bytes may have changed unseen.
        """
        found = self.known_columns(entries, SCHEMA.names)
        known: dict[str, ClipRow] = {}
        for batch in found.to_batches(max_chunksize=1 << 16):
            columns = [_shared(batch[name]) for name in SCHEMA.names]
            known.update((row[1], ClipRow(*row)) for row in zip(*columns, strict=True))
        return known

    def known_columns(self, entries: Iterable[Entry], columns: Sequence[str]) -> pa.Table:
        """Some columns of the rows that :meth:`known` finds: for millions of them."""
        asked = [entry for entry in entries if entry.mtime_ns and not entry.error]
        wanted = pa.table(
            {
                "uri": pa.array([entry.uri for entry in asked], pa.string()),
                "size": pa.array([entry.size for entry in asked], pa.int64()),
                "mtime_ns": pa.array([entry.mtime_ns for entry in asked], pa.int64()),
            }
        )
        chosen = ", ".join(quoted(column) for column in columns)
        with connect(self._spill) as connection:
            view(connection, "rows", self._paths(), SCHEMA)
            connection.register("wanted", wanted)
            source = "(from rows semi join wanted using (uri, size, mtime_ns))"
            last_rows(connection, "last", source, SCHEMA, ("uri",), LAST_FIRST)
            return connection.sql(f"select {chosen} from last").to_arrow_table()

    def known_ids(self, clips: Sequence[str]) -> set[str]:
        """Which of these clip ids have a row."""
        with connect(self._spill) as connection:
            view(connection, "rows", self._paths(), SCHEMA)
            connection.register("wanted", pa.table({"clip": pa.array(clips, pa.string())}))
            found = connection.sql("select clip from wanted semi join rows using (clip)")
            return {clip for (clip,) in found.fetchall()}

    def rows(self, clips: Sequence[str] | None = None) -> pa.Table:
        """One row per (clip, uri), the latest seen, sorted by clip and uri.

        Args:
            clips: Only these clips; None for all.
        """
        with connect(self._spill) as connection:
            view(connection, "rows", self._paths(), SCHEMA)
            source = "rows"
            if clips is not None:
                connection.register("wanted", pa.table({"clip": pa.array(clips, pa.string())}))
                source = "(from rows semi join wanted using (clip))"
            last_rows(connection, "last", source, SCHEMA, KEYS, LAST_FIRST)
            return connection.sql("from last order by clip, uri").to_arrow_table()

    def _paths(self) -> list[Path]:
        return [file.path for file in self.table.files()]


def _shared(column: pa.Array) -> list[Any]:
    """A column's values, equal ones as one object: a million rows repeat a run and a layout."""
    encoded = column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    return [values[index] for index in encoded.indices.to_pylist()]
