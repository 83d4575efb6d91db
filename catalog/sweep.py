"""Sweeping: what nothing names is removed, once it is old enough to belong to no living build."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pyarrow as pa

from catalog.lake import Lake
from catalog.outcomes import SCHEMA, last_outcomes
from catalog.release import RECORD
from catalog.tables import connect, view
from infra.processes import Lease, lease_folder
from infra.storage import lake_errors

GRACE = 3600.0
Kind = Literal["artifact", "scratch", "release", "table"]


@dataclass(frozen=True)
class Swept:
    """Something that was removed (in a dry run: would be).

    Attributes:
        kind: An ``artifact`` that no outcome names; ``scratch`` of a dead run; an unfinished
            ``release``; a data file that a ``table`` has replaced.
        path: Where it was.
        size: Bytes.
    """

    kind: Kind
    path: Path
    size: int


def sweep(lake: Lake, *, grace: float = GRACE, dry_run: bool = False) -> list[Swept]:
    """Remove what no row names and no living build can still want.

    An artifact is wanted if an outcome that counts names it, under whatever fingerprint. What
    is younger than the oldest build that a command is running here (a long clip's artifacts
    are named only when its last stage is done) is spared, whatever the grace; of builds
    elsewhere it is taken that they touch their scratch folder, and name what they made, within
    the time of grace.

    Args:
        lake: To sweep.
        grace: Seconds for which nothing may have been touched. Data files of the tables get
            an hour at least: a reader may be at them.
        dry_run: Remove nothing, only say what would go.

    Raises:
        LakeError: The lake is read-only.
    """
    before = min([time.time() - grace, *_builds_at_work(lake)])
    swept: list[Swept] = []
    with lake_errors(lake.root):
        for path in _unnamed_artifacts(lake, before):
            swept += _remove_artifact(lake, path, before, dry_run)
        for kind, path in (*_scratch(lake, before), *_unfinished(lake, before)):
            swept.append(Swept(kind, path, _size(path)))
            if not dry_run:
                _remove(path)
    for table in (lake.clips.table, lake.outcomes.table):
        files = table.vacuum(grace, dry_run=True)
        swept += [Swept("table", path, _size(path)) for path in files]
        if files and not dry_run:
            table.vacuum(grace, dry_run=False)
    return swept


def _builds_at_work(lake: Lake) -> list[float]:
    """When each build of this machine began that is still at work (its lease's time)."""
    began = []
    for path in lease_folder(lake.root).glob("*.json"):
        written = _age(path)
        lease = Lease.read(path)
        if lease is not None and lease.held:
            began.append(written)
    return began


def _unnamed_artifacts(lake: Lake, before: float) -> list[Path]:
    """Old files in the store that no outcome names.

    They are listed before the outcomes are read: a row that comes later names a younger file.
    """
    found = [path for path in lake.artifacts.root.glob("*/*") if _age(path) < before]
    if not found:
        return []
    digests = pa.table(
        {
            "stage": pa.array([path.parent.name for path in found]),
            "digest": pa.array([path.name.partition(".")[0] for path in found]),
            "path": pa.array([str(path) for path in found]),
        }
    )
    files = lake.outcomes.table.files()
    unnamed: list[Path] = []
    with connect(lake.root / "tmp" / "duckdb") as connection:
        connection.register("found", digests)
        for number, stage in enumerate(sorted(set(digests["stage"].to_pylist()))):
            paths = [file.path for file in files if file.partition["stage"] == stage]
            view(connection, f"stage_{number}", paths, SCHEMA)
            last_outcomes(connection, f"last_{number}", f"stage_{number}")
            rows = connection.execute(
                "select path from (from found where stage = $1) anti join "
                f"(select unnest(artifacts).digest as digest from last_{number}) using (digest)",
                [stage],
            )
            unnamed += [Path(path) for (path,) in rows.fetchall()]
    return sorted(unnamed)


def _remove_artifact(lake: Lake, path: Path, before: float, dry_run: bool) -> list[Swept]:
    size = _size(path)
    if not dry_run:
        # A stage may make the same bytes again at this moment, and touch the file to keep it
        # (`ArtifactStore.commit`). Moved aside first, it can be looked at in peace.
        aside = lake.scratch("sweep") / uuid4().hex
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.rename(aside)
        if _age(aside) >= before:
            aside.rename(path)
            return []
        aside.unlink()
    return [Swept("artifact", path, size)]


def _scratch(lake: Lake, before: float) -> Iterator[tuple[Kind, Path]]:
    for path in sorted((lake.root / "tmp").glob("*")):
        if max(map(_age, _tree(path))) < before:
            yield "scratch", path
    for folder in (lake.root, *sorted(lake.releases.glob("*/"))):
        # What `write_atomic` leaves when it is killed.
        for path in sorted(folder.glob(".*.tmp")):
            if _age(path) < before:
                yield "scratch", path


def _unfinished(lake: Lake, before: float) -> Iterator[tuple[Kind, Path]]:
    for path in sorted(lake.releases.glob("*/*/")):
        if not (path / RECORD).is_file() and max(map(_age, _tree(path))) < before:
            yield "release", path


def _tree(path: Path) -> Iterator[Path]:
    yield path
    for folder, _, files in os.walk(path):
        yield Path(folder)
        yield from (Path(folder) / name for name in files)


def _age(path: Path) -> float:
    """When it was last touched; now, if it has just gone (somebody is at work)."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return time.time()


def _size(path: Path) -> int:
    total = 0
    for file in _tree(path):
        try:
            total += file.lstat().st_size if not file.is_dir() else 0
        except FileNotFoundError:
            continue
    return total


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
