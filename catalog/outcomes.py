"""What the stages made of the clips: one row per (clip, stage, fingerprint) and attempt."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from catalog.artifacts import Artifact
from catalog.clips import now
from catalog.tables import Table, clean, connect, last_rows, literal, quoted, view

Status = Literal["done", "rejected", "failed", "quarantined", "void"]

SCHEMA = pa.schema(
    [
        ("clip", pa.string()),
        ("stage", pa.string()),
        ("fingerprint", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("facts", pa.string()),
        (
            "artifacts",
            pa.list_(
                pa.struct([("name", pa.string()), ("digest", pa.string()), ("size", pa.int64())])
            ),
        ),
        ("seconds", pa.float64()),
        ("frames", pa.int64()),
        ("attempts", pa.int32()),
        ("worker", pa.string()),
        ("error", pa.string()),
        ("stderr", pa.string()),
        ("command", pa.string()),
        ("run", pa.string()),
        ("finished_at", pa.timestamp("us", tz="UTC")),
    ]
)

# Rows that are equal in all of this are equal in all that matters.
LAST_FIRST = "finished_at desc, attempts desc, (status = 'void') desc, run desc, worker desc"


_FEW = 1 << 16


@dataclass(frozen=True)
class Outcome:
    """How a stage ended for a clip.

    Attributes:
        clip: Content id of the clip.
        stage: Name of the stage.
        fingerprint: Of the stage's code, config, weights and needs.
        status: ``done``; ``rejected`` (a decision); ``failed`` (may be retried);
            ``quarantined`` (it killed or hung its worker, or used up its attempts); ``void``:
            whatever was known of this clip, stage and fingerprint counts as never computed.
        reason: One sentence for a person; empty when done.
        score: The number behind a decision.
        facts: Small JSON values that the stage learnt.
        artifacts: The files it made.
        seconds: Wall time of the last attempt.
        frames: Frames worked on.
        attempts: How often it was tried.
        worker: Who did it.
        error: Class of the error, where there was one.
        stderr: The worker's last lines.
        command: One line that reproduces a failure.
        run: Build in which it happened.
        finished_at: When.
    """

    clip: str
    stage: str
    fingerprint: str
    status: Status
    reason: str = ""
    score: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Sequence[Artifact] = ()
    seconds: float = 0.0
    frames: int = 0
    attempts: int = 1
    worker: str = ""
    error: str = ""
    stderr: str = ""
    command: str = ""
    run: str = ""
    finished_at: datetime = field(default_factory=now)


@dataclass(frozen=True)
class Count:
    """How many clips ended one way in a stage, and what they took.

    Attributes:
        stage: Name of the stage.
        status: How they ended.
        clips: How many.
        frames: Their frames.
        seconds: Worker seconds spent on them.
        recent_frames: Frames of those that ended since the moment asked for.
    """

    stage: str
    status: str
    clips: int
    frames: int
    seconds: float
    recent_frames: int = 0


class OutcomeTable:
    """The table ``outcomes/``, append-only.

    Of the rows of one (clip, stage, fingerprint) **the last counts**: the one with the latest
    ``finished_at``; at the same microsecond the one with more attempts, then a void one, then
    the greater run and worker. If the last is void there is no outcome.

    Args:
        path: The table's folder.
        spill: Where a query may put what does not fit into memory.
    """

    def __init__(self, path: Path, *, spill: Path) -> None:
        self.table = Table(
            path,
            SCHEMA,
            point="outcomes",
            partition_by=("stage",),
            statistics=("clip", "fingerprint"),
        )
        self._spill = spill

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Add outcomes in one transaction: after a crash all of them are there, or none.

        Raises:
            LakeError: The disk is full or read-only.
        """
        columns = {name: [_cell(row, name) for row in outcomes] for name in SCHEMA.names}
        self.table.append(pa.table(columns, schema=SCHEMA))

    def void(self, outcomes: Sequence[Outcome], *, run: str = "") -> None:
        """Make ``outcomes`` count as never computed; the next build computes them again."""
        self.append([Outcome(o.clip, o.stage, o.fingerprint, "void", run=run) for o in outcomes])

    def latest(
        self,
        fingerprints: Mapping[str, str],
        clips: Sequence[str] | pa.ChunkedArray | None = None,
        columns: Sequence[str] = tuple(SCHEMA.names),
    ) -> pa.Table:
        """The row that counts of each (clip, stage), in no particular order.

        Args:
            fingerprints: The fingerprint asked for, by stage name.
            clips: Only these clips; None for all.
            columns: Columns wanted (fewer are faster: a row's facts and stderr are large).

        Returns:
            A table with ``columns`` of ``SCHEMA``; ``facts`` is JSON text.
        """
        chosen = ", ".join(quoted(column) for column in columns)
        with self._last(fingerprints, clips) as connection:
            found = connection.sql(f"select {chosen} from last").to_arrow_table()
        return found.cast(pa.schema([SCHEMA.field(column) for column in columns]))

    def of(
        self, clips: Sequence[str], fingerprints: Mapping[str, str]
    ) -> dict[str, dict[str, Outcome]]:
        """The outcomes that count, by clip and stage; a clip without any has an empty dict."""
        return by_clip(self.latest(fingerprints, clips), clips)

    def counts(
        self,
        fingerprints: Mapping[str, str],
        members: Sequence[str] | pa.ChunkedArray | None = None,
        *,
        since: datetime | None = None,
    ) -> list[Count]:
        """How the clips ended, a line per stage (in the order given) and status.

        Args:
            fingerprints: The fingerprint asked for, by stage name.
            members: Only these clips (`catalog.members.member_ids`); None for all.
            since: From when on frames count as recent; None for never.
        """
        with self._last(fingerprints, members) as connection:
            rows = connection.execute(
                "select stage, status, count(*), coalesce(sum(frames), 0)::bigint, "
                "coalesce(sum(seconds), 0), "
                "coalesce(sum(frames) filter (where finished_at >= $1), 0)::bigint "
                "from last group by all order by status",
                [since],
            ).fetchall()
        order = list(fingerprints)
        return sorted((Count(*row) for row in rows), key=lambda line: order.index(line.stage))

    def compact(self, *, files: int = 32) -> None:
        """Merge the small files that appends leave, once there are more than ``files``.

        Safe beside other builds that append or compact at the same time.
        """
        self.table.compact(files=files)

    @contextmanager
    def _last(
        self, fingerprints: Mapping[str, str], clips: Sequence[str] | pa.ChunkedArray | None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with the view ``last``: the rows that count.

        A few clips are picked out before anything else is asked of the rows; many (which are
        most of the lake's, as a rule) only at the end, all stages together.
        """
        files = self.table.files()
        few = clips is not None and len(clips) < _FEW
        with connect(self._spill) as connection:
            # DuckDB takes far too few rows to pass our filters, and would hash all outcomes
            # instead of what they are joined with.
            connection.execute("set disabled_optimizers = 'build_side_probe_side'")
            if clips is not None:
                ids = clips if isinstance(clips, pa.ChunkedArray) else pa.array(clips, pa.string())
                connection.register("wanted", pa.table({"clip": ids}))
            view(connection, "none", [], SCHEMA)
            columns = ", ".join(quoted(name) for name in SCHEMA.names)
            parts = [f"select {columns} from none"]
            for number, (stage, fingerprint) in enumerate(fingerprints.items()):
                paths = [
                    file.path
                    for file in files
                    if file.partition["stage"] == stage
                    and file.least["fingerprint"] <= fingerprint <= file.most["fingerprint"]
                ]
                view(connection, f"stage_{number}", paths, SCHEMA)
                source = f"(from stage_{number} where fingerprint = {literal(fingerprint)})"
                if few:
                    source = f"(from {source} semi join wanted using (clip))"
                last_outcomes(connection, f"last_{number}", source, ("clip",))
                parts.append(f"select {columns} from last_{number}")
            union = f"from ({' union all '.join(parts)})"
            if clips is not None and not few:
                union += " semi join wanted using (clip)"
            connection.execute(f"create view last as {union}")
            yield connection


def last_outcomes(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    source: str,
    keys: Sequence[str] = ("clip", "fingerprint"),
) -> None:
    """Create the view ``name`` of those rows of ``source`` that count.

    Args:
        connection: Where to create it.
        name: Of the view.
        source: An SQL relation made by `catalog.tables.view`, filtered at most, whose rows
            are all of one stage.
        keys: What tells outcomes apart; fewer are faster where all fingerprints are equal.
    """
    every = f"{name}_or_void"
    last_rows(connection, every, source, SCHEMA, keys, LAST_FIRST)
    connection.execute(f"create view {quoted(name)} as from {quoted(every)} where status <> 'void'")


def by_clip(latest: pa.Table, clips: Sequence[str]) -> dict[str, dict[str, Outcome]]:
    """Rows of :meth:`OutcomeTable.latest` as outcomes, by clip (each of ``clips``) and stage."""
    found: dict[str, dict[str, Outcome]] = {clip: {} for clip in clips}
    for row in latest.to_pylist():
        found[row["clip"]][row["stage"]] = outcome_of(row)
    return found


def outcome_of(row: Mapping[str, Any]) -> Outcome:
    """The outcome that a row of the table (``to_pylist()``) holds."""
    return Outcome(
        **{
            **row,
            "facts": json.loads(row["facts"]),
            "artifacts": tuple(Artifact(**artifact) for artifact in row["artifacts"]),
        }
    )


def _cell(outcome: Outcome, column: str) -> Any:
    value = getattr(outcome, column)
    if column == "facts":
        return json.dumps(value, sort_keys=True, allow_nan=False)
    if column == "artifacts":
        return [asdict(artifact) for artifact in value]
    return clean(value) if isinstance(value, str) else value
