"""The first step of a build: from entries of a source to rows of the clips table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from catalog.clips import ClipRow
from catalog.lake import Lake
from catalog.outcomes import Status
from catalog.sources import Entry
from flows.batches import Batches
from infra.digests import digest_bytes
from infra.engine.base import Item, Lost, Pool

BYTES_PER_SECOND = 1 << 20
"""A source read slower than this counts as hung (after a minute of grace)."""

SMALL_FILES = 64
"""Files of the clips table beyond which they are merged; each published batch adds one."""


@dataclass(frozen=True)
class Trouble:
    """Why an entry has no content to work on.

    Attributes:
        status: ``rejected`` where it never can be read (a folder, a dangling link),
            ``failed`` where it may be another time, ``quarantined`` where reading it
            killed or hung a worker.
        reason: In words.
        error: Class of the error.
    """

    status: Status
    reason: str
    error: str = ""


def ingest(
    lake: Lake,
    entries: Sequence[Entry],
    pool: Callable[[], Pool],
    run: str,
    layout: str,
    cancelled: Callable[[], bool],
    aside: Callable[[Sequence[str]], Mapping[str, Trouble]] = lambda clips: {},
) -> list[tuple[ClipRow, Trouble | None]]:
    """Give every entry its clip row, digesting only what the lake has not met.

    Rows are published as they come, so that nothing is digested twice after an interruption.

    Args:
        lake: Holds the clips table.
        entries: Of the source, in its order.
        pool: Makes the pool that digests; called only if something is new.
        run: Name of the build.
        layout: By which the names were read.
        cancelled: True once the build should stop; entries not reached are then left out.
        aside: Of these stand-in ids, those that are quarantined; they are not read again.

    Returns:
        A row for each entry, with the label and identity that *this* source gives it. One
        that cannot be read gets a stand-in id (made of its address, size and time, since
        there is no content), and is asked again by the next build.
    """
    rows: dict[str, ClipRow] = dict(lake.clips.known(entries))
    troubles = {e.uri: Trouble("rejected", e.error) for e in entries if e.error}
    new = {_key(e): e for e in entries if e.uri not in rows and e.uri not in troubles}
    set_aside = aside([_stand_in(entry) for entry in new.values()])
    for key, entry in list(new.items()):
        if trouble := set_aside.get(_stand_in(entry)):
            troubles[entry.uri] = trouble
            del new[key]
    with Batches(lake.clips.append) as batches:
        if new:
            items = (
                Item(
                    id=key,
                    payload={"id": key, "uri": entry.uri},
                    deadline=60 + max(entry.size, 0) / BYTES_PER_SECOND,
                )
                for key, entry in new.items()
            )
            for result in pool().run(items, cancelled=cancelled):
                entry = new[result.id]
                if isinstance(result, Lost):
                    reason = f"reading it failed twice: {result.message}"
                    troubles[entry.uri] = Trouble("quarantined", reason, result.error)
                elif result.value["error"]:
                    troubles[entry.uri] = Trouble("failed", result.value["error"], "SourceError")
                else:
                    row = _row(entry, result.value["clip"], run, layout, result.value["headers"])
                    rows[entry.uri] = row
                    batches.add([row])
        stand_ins = {
            e.uri: _row(e, _stand_in(e), run, layout, {}) for e in entries if e.uri in troubles
        }
        met = lake.clips.known_ids([row.clip for row in stand_ins.values()])
        batches.add([row for row in stand_ins.values() if row.clip not in met])
    rows |= stand_ins
    lake.clips.table.compact(files=SMALL_FILES)
    return [(_named(rows[e.uri], e, layout), troubles.get(e.uri)) for e in entries if e.uri in rows]


def _key(entry: Entry) -> str:
    return digest_bytes(entry.uri.encode())[:32]


def _stand_in(entry: Entry) -> str:
    # With size and time: a file that was quarantined and then mended is another one.
    return digest_bytes(f"unread:{entry.size}:{entry.mtime_ns}:{entry.uri}".encode())[:32]


def _named(row: ClipRow, entry: Entry, layout: str) -> ClipRow:
    """The row under the names that this source gives the clip; another one may differ."""
    if (row.label, row.identity, row.layout) == (entry.label, entry.identity, layout):
        return row
    return replace(row, label=entry.label, identity=entry.identity, layout=layout)


def _row(entry: Entry, clip: str, run: str, layout: str, headers: dict[str, Any]) -> ClipRow:
    return ClipRow(
        clip=clip,
        uri=entry.uri,
        label=entry.label,
        size=entry.size,
        # Without content nothing is known: a row without mtime is never taken for known.
        mtime_ns=0 if clip == _stand_in(entry) else entry.mtime_ns,
        layout=layout,
        identity=entry.identity,
        run=run,
        added_at=datetime.now(UTC),
        **headers,
    )
