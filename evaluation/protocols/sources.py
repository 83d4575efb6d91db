"""Whose clips a protocol is about: a release's, or a folder's; and which are left out, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from catalog.index import column
from catalog.lake import Lake
from catalog.layouts import Layout
from catalog.release import Release
from catalog.sources import list_source
from evaluation.cells.cell import Subject
from evaluation.protocols.cut_worker import MEMBER, Clip, ClipCutter, file_payload, square_payload
from evaluation.protocols.tables import Protocol
from infra.errors import UsageError


@dataclass(frozen=True)
class LeftOut:
    """A clip that cannot be judged on.

    Attributes:
        name: What people call it.
        reason: Why.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Sourced:
    """What a source gave.

    Attributes:
        subjects: Clips, each once, by name.
        left_out: Those that could not be used.
        origin: Where they are from, in JSON types.
    """

    subjects: tuple[Subject, ...]
    left_out: tuple[LeftOut, ...] = ()
    origin: dict[str, Any] = field(default_factory=dict)


def read_source(protocol: Protocol, lake: Lake, cutter: ClipCutter) -> Sourced:
    """The clips of a protocol's source, cut to the face's square.

    Args:
        protocol: What is asked for.
        lake: Where releases are.
        cutter: Cuts them, as the protocol says.

    Raises:
        UsageError: There is no such source, or no clip of it can be used.
        LakeError: The disk is full or read-only, or the release is damaged.
        CuttingStoppedError: Workers were stopped before they were through.
    """
    source = protocol.source
    if source.release:
        release = Release.open(lake, source.release, source.version or None)
        told = {"release": release.name, "version": release.version, "digest": release.digest}
        clips = _of_release(release, source.split)
        where = f"release {release.name}, split {source.split}"
    elif source.folder:
        told = {"folder": source.folder, "layout": source.layout}
        clips = _of_folder(source.folder, source.layout)
        where = source.folder
    else:
        raise UsageError(
            f"the protocol {protocol.name} does not say whose clips",
            hint="set source.folder=FOLDER or source.release=NAME",
        )
    subjects, left_out = _gathered(clips, source.limit, cutter)
    if not subjects:
        raise UsageError(
            f"the protocol {protocol.name} has no clip: {_why(left_out) or f'{where} is empty'}",
            hint="videos and pictures of a person whose face is seen are needed",
        )
    return Sourced(tuple(subjects), tuple(left_out), told)


def read_portraits(
    folder: str, limit: int, cutter: ClipCutter
) -> tuple[list[Subject], list[LeftOut]]:
    """The faces of pictures, or of videos' first frames, as films of one frame.

    Args:
        folder: Where they are, as a source's folder.
        limit: How many are taken, the first by name; 0 takes all.
        cutter: Cuts them.

    Raises:
        UsageError: There is no such folder.
        LakeError: The disk is full or read-only.
        CuttingStoppedError: Workers were stopped before they were through.
    """
    return _gathered(_of_folder(folder, "plain", portrait=True), limit, cutter)


def _gathered(
    clips: Sequence[Clip], limit: int, cutter: ClipCutter
) -> tuple[list[Subject], list[LeftOut]]:
    """The first clips that can be used, up to a limit; and those before them that cannot."""
    subjects: dict[str, Subject] = {}
    left_out = []
    waiting = iter(clips)
    # As many at once as are missing: none is cut that one after the other would not be.
    while batch := list(islice(waiting, limit - len(subjects) if limit else None)):
        pieces = cutter.cut(batch)
        for clip in batch:
            piece = pieces[clip.id]
            if isinstance(piece, str):
                left_out.append(LeftOut(clip.name, piece))
                continue
            facts = {**clip.facts, **piece.facts}
            subject = Subject(clip.name, clip.identity, piece.film, facts)
            twin = subjects.setdefault(subject.id, subject)
            if twin is not subject:
                left_out.append(LeftOut(clip.name, f"its frames are those of {twin.name}"))
    return list(subjects.values()), left_out


def _of_release(release: Release, split: str) -> list[Clip]:
    """A release's clips, by name."""
    digest = column(MEMBER, "sha256")
    if digest not in release.index.column_names:
        raise UsageError(f"{release.path} has no films ({MEMBER})")
    names = ["label", "key", "split", "identity", "fps", digest]
    rows = release.index.select(names).to_pylist()
    return [
        Clip(
            row["label"],
            row["identity"],
            square_payload(release, row["key"], row["fps"], row[digest]),
            {"key": row["key"]},
        )
        for row in sorted(rows, key=lambda row: (row["label"], row["key"]))
        if split in ("all", row["split"])
    ]


def _of_folder(folder: str, layout: Layout, *, portrait: bool = False) -> list[Clip]:
    """What a folder, or whatever else names files, holds, by name."""
    # Layouts differ in the files that they list, videos or pictures: here both are welcome.
    listed = {each.uri: each for kind in ("ffhq", layout) for each in list_source(folder, kind)}
    return [
        Clip(entry.label, entry.identity, file_payload(entry, portrait=portrait))
        for entry in sorted(listed.values(), key=lambda entry: (entry.label, entry.uri))
    ]


def _why(left_out: list[LeftOut]) -> str:
    told = [f"{each.name}: {each.reason}" for each in left_out[:3]]
    more = f"; and {len(left_out) - 3} more" if len(left_out) > 3 else ""
    return "; ".join(told) + more
