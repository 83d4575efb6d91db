"""Publishing a release: shards, index, record and card, all of it or none."""

import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq

from catalog.card import counts, render_card, statistics
from catalog.index import IndexRow, index_table
from catalog.lake import Lake
from catalog.members import check_name
from catalog.release import (
    CARD,
    CURRENT,
    FORMAT,
    INDEX,
    RECORD,
    SHARDS,
    Progress,
    Release,
    render_record,
    seal,
)
from catalog.shards import Placed, ShardWriter, Source
from catalog.tables import clean
from infra.digests import canonical_json, digest_bytes
from infra.errors import LakeError
from infra.faults import fault_point
from infra.storage import fsync_path, lake_errors, write_atomic


@dataclass(frozen=True)
class Sample:
    """A clip that goes into a release.

    Attributes:
        key: Clip id.
        split: ``train``, ``val`` or ``test``.
        label: The source's name, for people.
        identity: Who is seen.
        frames: Of every video in the sample.
        fps: ``"num/den"``, exactly.
        score: Quality, 0..1.
        width: Pixels of the videos.
        height: Pixels of the videos.
        facts: JSON values that go into the member ``json``.
        members: The files, by their names in the sample.
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
    facts: Mapping[str, Any]
    members: Sequence[Source]


@dataclass(frozen=True)
class Pedigree:
    """What a release was made with.

    Attributes:
        fingerprints: Of the stages, by name.
        config: Of the packing, as JSON values.
        weights: ``{name: {"sha256", "licence", "terms"}}`` of every weight that was used.
        shard_bytes: Size in bytes that a shard should stay below.
    """

    fingerprints: Mapping[str, str]
    config: Mapping[str, Any]
    weights: Mapping[str, Mapping[str, str]]
    shard_bytes: int


def release_digest(samples: Sequence[Sample], pedigree: Pedigree) -> str:
    """Digest of a release's content: 64 hexadecimal digits.

    It depends on the keys, the members' digests, the splits, the fingerprints and the packing's
    config; not on time, place, worker, or the order of ``samples``.
    """
    head = {
        "format": FORMAT,
        "fingerprints": dict(pedigree.fingerprints),
        "config": dict(pedigree.config),
    }
    digest = hashlib.sha256(f"{canonical_json(head)}\n".encode())
    for sample in sorted(samples, key=lambda sample: sample.key):
        files = {member.name: member.digest for member in sample.members}
        digest.update(f"{canonical_json([sample.key, sample.split, files])}\n".encode())
    return digest.hexdigest()


def publish(
    lake: Lake,
    name: str,
    samples: Sequence[Sample],
    pedigree: Pedigree,
    progress: Progress = lambda done, total: None,
) -> Release:
    """Write a release, verify it by reading it back, and make it the current version.

    It is written aside and renamed into place when it is whole, so that nobody ever sees
    a part of it. Where this very content was published before, nothing is written.

    Args:
        lake: Where to.
        name: Of the release.
        samples: In any order; no key twice.
        pedigree: What it was made with.
        progress: Told the bytes packed.

    Raises:
        UsageError: The name cannot name a release.
        LakeError: The disk is full, read-only or failing; a member is not what its digest
            says; the version that is there is damaged.
    """
    check_name(name)
    digest = release_digest(samples, pedigree)
    version = digest[:12]
    final = lake.releases / name / version
    if final.is_dir():
        _check_present(Release(final), digest)
    else:
        aside = lake.scratch(f"publish-{uuid4().hex}")
        with lake_errors(final):
            try:
                (aside / SHARDS).mkdir(parents=True)
                _write(aside, name, digest, samples, pedigree, progress)
                if problems := Release(aside).verify():
                    raise LakeError(
                        f"the release reads back otherwise than written: {problems[0]}",
                        hint="the disk or its memory is failing: check it before you go on",
                    )
                final.parent.mkdir(parents=True, exist_ok=True)
                fault_point("release.rename.before")
                _rename(aside, final)
                fault_point("release.rename.after")
                fsync_path(final.parent)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    current = final.parent / CURRENT
    pointer = (json.dumps({"version": version, "digest": digest}) + "\n").encode()
    if not current.is_file() or current.read_bytes() != pointer:
        write_atomic(current, pointer, point="current")
    return Release(final)


def _check_present(release: Release, digest: str) -> None:
    """That the version which is there is whole, as far as a look at its index and sizes tells."""
    problems = release.verify(contents=False)
    if release.record["digest"] != digest:
        problems = [f"its digest is {release.record['digest']}"]
    if problems:
        raise LakeError(
            f"{release.path} is damaged: {problems[0]}",
            hint="move the folder away and run the same command again: it is packed anew",
        )


def _rename(aside: Path, final: Path) -> None:
    try:
        aside.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        # Another build published the same content in this moment; ours is thrown away.


def _write(
    folder: Path,
    name: str,
    digest: str,
    samples: Sequence[Sample],
    pedigree: Pedigree,
    progress: Progress,
) -> None:
    ordered = sorted(samples, key=lambda sample: (sample.split, sample.key))
    total = sum(member.size for sample in ordered for member in sample.members)
    done = 0
    rows: list[IndexRow] = []
    shards: list[dict[str, Any]] = []
    for split, part in groupby(ordered, key=lambda sample: sample.split):
        with ExitStack() as stack:
            writer = ShardWriter(folder / SHARDS, split, pedigree.shard_bytes)
            stack.callback(writer.abandon)
            for sample in part:
                placed = writer.add(sample.key, [*_by_name(sample), _facts(sample)])
                rows.append(_row(sample, placed))
                done += sum(member.size for member in sample.members)
                progress(done, total)
            writer.close()
        shards += [{**asdict(shard), "split": split} for shard in writer.shards]
    fsync_path(folder / SHARDS)
    index = index_table(rows)
    buffer = io.BytesIO()
    pq.write_table(index, buffer, compression="zstd", row_group_size=1 << 16)
    write_atomic(folder / INDEX, buffer.getvalue(), point="index")
    record = {
        "format": FORMAT,
        "name": name,
        "version": digest[:12],
        "digest": digest,
        "fingerprints": dict(pedigree.fingerprints),
        "config": dict(pedigree.config),
        "weights": {key: dict(value) for key, value in pedigree.weights.items()},
        "members": sorted({place.name for row in rows for place in row.placed}),
        "counts": counts(index, sum(shard["size"] for shard in shards)),
        "statistics": statistics(index),
        "shards": shards,
        "index": _file(buffer.getvalue()),
    }
    card = render_card(record).encode()
    write_atomic(folder / CARD, card, point="card")
    record["card"] = _file(card)
    record["seal"] = seal(record)
    write_atomic(folder / RECORD, render_record(record).encode(), point="record")


def _file(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": digest_bytes(data)}


def _by_name(sample: Sample) -> list[Source]:
    return sorted(sample.members, key=lambda member: member.name)


def _facts(sample: Sample) -> Source:
    """The member ``json``: what is known of the sample, in one line."""
    facts = {
        **{
            name: getattr(sample, name)
            for name in ("key", "split", "identity", "frames", "fps", "score", "width", "height")
        },
        "label": clean(sample.label),
        "facts": dict(sample.facts),
    }
    data = (canonical_json(facts) + "\n").encode()
    return Source("json", data, digest_bytes(data), len(data))


def _row(sample: Sample, placed: Sequence[Placed]) -> IndexRow:
    return IndexRow(
        sample.key,
        sample.split,
        clean(sample.label),
        clean(sample.identity),
        sample.frames,
        sample.fps,
        sample.score,
        sample.width,
        sample.height,
        placed,
    )
