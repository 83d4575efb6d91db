"""Whose clips a protocol is about: a release's, or a folder's; and which are left out, and why."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from catalog.index import column
from catalog.lake import Lake
from catalog.layouts import Layout
from catalog.release import Release
from catalog.sources import Entry, list_source, local_copy
from evaluation.cells.cell import Subject
from evaluation.cells.places import Places
from evaluation.protocols.cutting import Cutter, Piece
from evaluation.protocols.tables import Protocol
from infra.errors import SourceError, UsageError

MEMBER = "video.mp4"

Progress = Callable[[str], None]
"""Called with the name of each clip before it is cut."""


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


def read_source(
    protocol: Protocol,
    lake: Lake,
    scratch: Path,
    progress: Progress = lambda name: None,
) -> Sourced:
    """The clips of a protocol's source, cut to the face's square.

    Args:
        protocol: What is asked for.
        lake: Where releases are, and where films are kept.
        scratch: Folder for copies of remote files.
        progress: Told of each clip.

    Raises:
        UsageError: There is no such source, or no clip of it can be used.
        LakeError: The disk is full or read-only, or the release is damaged.
    """
    source = protocol.source
    cutter = Cutter(protocol, Places(lake.root / "benchmarks"))
    if source.release:
        release = Release.open(lake, source.release, source.version or None)
        told = {"release": release.name, "version": release.version, "digest": release.digest}
        named = _of_release(release, source.split, cutter)
        where = f"release {release.name}, split {source.split}"
    elif source.folder:
        told = {"folder": source.folder, "layout": source.layout}
        named = _of_folder(source.folder, source.layout, cutter, scratch)
        where = source.folder
    else:
        raise UsageError(
            f"the protocol {protocol.name} does not say whose clips",
            hint="set source.folder=FOLDER or source.release=NAME",
        )
    subjects, left_out = _gathered(named, source.limit, progress)
    if not subjects:
        raise UsageError(
            f"the protocol {protocol.name} has no clip: {_why(left_out) or f'{where} is empty'}",
            hint="videos and pictures of a person whose face is seen are needed",
        )
    return Sourced(tuple(subjects), tuple(left_out), told)


def read_portraits(
    folder: str, cutter: Cutter, scratch: Path, limit: int, progress: Progress = lambda name: None
) -> tuple[list[Subject], list[LeftOut]]:
    """The faces of pictures, or of videos' first frames, as films of one frame.

    Args:
        folder: Where they are, as a source's folder.
        cutter: Cuts them.
        scratch: Folder for copies of remote files.
        limit: How many are taken, the first by name; 0 takes all.
        progress: Told of each.

    Raises:
        UsageError: There is no such folder.
        LakeError: The disk is full or read-only.
    """
    return _gathered(_of_folder(folder, "plain", cutter, scratch, True), limit, progress)


@dataclass(frozen=True)
class _Named:
    """A clip that may be cut."""

    name: str
    identity: str
    facts: dict[str, Any]
    cut: Callable[[], Piece]


def _gathered(
    named: Iterable[_Named], limit: int, progress: Progress
) -> tuple[list[Subject], list[LeftOut]]:
    subjects: dict[str, Subject] = {}
    left_out = []
    for each in named:
        if limit and len(subjects) == limit:
            break
        progress(each.name)
        try:
            piece = each.cut()
        except (UsageError, SourceError) as error:
            left_out.append(LeftOut(each.name, error.message))
            continue
        facts = {**each.facts, **piece.facts}
        subject = Subject(each.name, each.identity, piece.film, facts)
        twin = subjects.setdefault(subject.id, subject)
        if twin is not subject:
            left_out.append(LeftOut(each.name, f"its frames are those of {twin.name}"))
    return list(subjects.values()), left_out


def _of_release(release: Release, split: str, cutter: Cutter) -> Iterator[_Named]:
    digest = column(MEMBER, "sha256")
    if digest not in release.index.column_names:
        raise UsageError(f"{release.path} has no films ({MEMBER})")
    names = ["label", "key", "split", "identity", "fps", digest]
    for row in sorted(
        release.index.select(names).to_pylist(), key=lambda row: (row["label"], row["key"])
    ):
        if split in ("all", row["split"]):

            def cut(row: dict[str, Any] = row) -> Piece:
                data = release.read(row["key"], MEMBER)
                return cutter.square(data, row[digest], Fraction(row["fps"]))

            yield _Named(row["label"], row["identity"], {"key": row["key"]}, cut)


def _of_folder(
    folder: str, layout: Layout, cutter: Cutter, scratch: Path, portrait: bool = False
) -> Iterator[_Named]:
    # Layouts differ in the files that they list, videos or pictures: here both are welcome.
    listed = {each.uri: each for kind in ("ffhq", layout) for each in list_source(folder, kind)}
    for entry in sorted(listed.values(), key=lambda entry: (entry.label, entry.uri)):

        def cut(entry: Entry = entry) -> Piece:
            if entry.error:
                raise SourceError(entry.error)
            scratch.mkdir(parents=True, exist_ok=True)
            path = local_copy(entry.uri, scratch)
            try:
                return cutter.file(path, portrait=portrait)
            except (UsageError, SourceError) as error:
                # A report may be shown to people who need not know our folders.
                reason = error.message.replace(str(path), entry.label)
                raise type(error)(reason) from error
            finally:
                if path.parent == scratch:
                    path.unlink(missing_ok=True)

        yield _Named(entry.label, entry.identity, {}, cut)


def _why(left_out: list[LeftOut]) -> str:
    told = [f"{each.name}: {each.reason}" for each in left_out[:3]]
    more = f"; and {len(left_out) - 3} more" if len(left_out) > 3 else ""
    return "; ".join(told) + more
