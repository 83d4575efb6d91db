"""The index of a release: one row a sample, with the place of each of its members."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pyarrow as pa

from catalog.shards import Placed

PLACE = (
    ("offset", pa.int64()),
    ("size", pa.int64()),
    ("crc32", pa.int64()),
    ("sha256", pa.string()),
)

_SAMPLE = (
    ("key", pa.string()),
    ("split", pa.string()),
    ("shard", pa.string()),
    ("label", pa.string()),
    ("identity", pa.string()),
    ("frames", pa.int64()),
    ("fps", pa.string()),
    ("duration", pa.float64()),
    ("score", pa.float64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
)


@dataclass(frozen=True)
class IndexRow:
    """A sample, and where it lies.

    Attributes:
        key: Clip id: the first part of its members' names.
        split: ``train``, ``val`` or ``test``.
        label: The source's name, for people.
        identity: Who is seen.
        frames: Of every video in the sample.
        fps: ``"num/den"``, exactly.
        score: Quality, 0..1.
        width: Pixels of the videos.
        height: Pixels of the videos.
        placed: Where each member lies; all in one shard.
    """

    key: str
    split: str
    label: str
    identity: str
    frames: int
    fps: str
    score: float | None
    width: int
    height: int
    placed: Sequence[Placed] = field(default_factory=list)

    @property
    def shard(self) -> str:
        """File name of the shard that holds the sample."""
        return self.placed[0].shard

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.frames / Fraction(self.fps))


def column(member: str, what: str) -> str:
    """Name of the column with ``what`` (offset, size, crc32, sha256) of a member.

    Column names hold no dot, so that SQL needs no quotes: ``video.mp4`` and ``offset`` give
    ``video_mp4_offset``.
    """
    return f"{member.replace('.', '_').replace('-', '_')}_{what}"


def index_table(rows: Sequence[IndexRow]) -> pa.Table:
    """The index: a row a sample, sorted by (split, key).

    For every member name that any sample has there are four columns (``column``), null
    where a sample lacks it.
    """
    rows = sorted(rows, key=lambda row: (row.split, row.key))
    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in _SAMPLE
    }
    for member in sorted({place.name for row in rows for place in row.placed}):
        found = [next((p for p in row.placed if p.name == member), None) for row in rows]
        for what, kind in PLACE:
            values: list[Any] = [getattr(place, what) if place else None for place in found]
            columns[column(member, what)] = pa.array(values, kind)
    return pa.table(columns)
