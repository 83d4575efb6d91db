"""Cutting clips in an engine's workers: what runs there, and how a driver hands clips out.

A file that crashes FFmpeg, or on which it hangs, takes its worker along, and no more than that: it
is left out, with the reason. What was cut before is found by the driver, and sent to nobody.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypedDict

from catalog.entries import local_path
from catalog.lake import Lake
from catalog.release import Release
from catalog.sources import Entry, local_copy
from evaluation.cells.places import Places
from evaluation.protocols.cutting import Cutter, Piece
from evaluation.protocols.read import parse_protocol
from evaluation.protocols.tables import Protocol
from infra.digests import digest_json
from infra.engine.base import Done, Item, Lost, Note, Result, WorkerSpec
from infra.errors import SourceError, UsageError
from training.relight.film import BUDGET

FACTORY = "evaluation.protocols.cut_worker:CutWorker"

MEMBER = "video.mp4"
"""A release's films."""

Run = Callable[[WorkerSpec, Iterable[Item]], Iterator[Result]]
"""Gives items to workers; one result an item, in any order, unless it is stopped before its end."""

Progress = Callable[[str], None]
"""Called with the name of each clip, once it is cut, or known to be of no use."""

_LOADING = 120.0  # seconds that an item may take for models, beyond its frames
_A_FRAME = 2.0  # seconds to decode a frame twice, find its face, and write its square
_BYTES_PER_SECOND = 1 << 20  # a file is fetched and digested at least so fast


class CuttingStoppedError(Exception):
    """Workers were stopped before all clips were cut; the next run goes on from there."""


@dataclass(frozen=True)
class Clip:
    """A clip, or a portrait, that may be cut.

    Attributes:
        name: What people call it.
        identity: Whom it shows.
        payload: What a worker is told (`file_payload`, `square_payload`).
        facts: Where it is from, in JSON types.
    """

    name: str
    identity: str
    payload: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """Digest of the payload, which joins an item and its result."""
        return digest_json(self.payload)[:32]


def file_payload(entry: Entry, *, portrait: bool) -> dict[str, Any]:
    """A file whose face's square is wanted, in JSON types.

    Args:
        entry: The file.
        portrait: Its first frame alone.
    """
    return {"entry": asdict(entry), "portrait": portrait}


def square_payload(release: Release, key: str, fps: str, sha256: str) -> dict[str, Any]:
    """A release's film, which is a square already, in JSON types.

    Args:
        release: The release.
        key: The sample's.
        fps: Frames a second, as a fraction.
        sha256: The film's digest, as the index tells it.
    """
    whose = {"release": release.name, "version": release.version}
    return {**whose, "key": key, "fps": fps, "sha256": sha256}


class Answer(TypedDict):
    """What a worker says of an item.

    Attributes:
        piece: `Piece.to_json`; None where the clip cannot be used.
        reason: Why it cannot; empty where it can.
    """

    piece: dict[str, Any] | None
    reason: str


class CutWorker:
    """Cuts one clip an item, or finds that it was cut.

    Args:
        lake: Root of the lake.
        protocol: How, as `Protocol.settings` tells it.
        scratch: Folder for copies of remote files.
    """

    def __init__(self, lake: str, protocol: Mapping[str, Any], scratch: str) -> None:
        self._lake = Path(lake)
        self._scratch = Path(scratch)
        told = parse_protocol(protocol, "the protocol of a worker")
        self._cutter = Cutter(told, Places(self._lake / "benchmarks"))
        self._release: Release | None = None

    def run(self, payload: Mapping[str, Any], note: Note) -> Answer:
        """Cut a clip of which a `Clip.payload` tells.

        Raises:
            UsageError: The release is not there.
            LakeError: The disk is full or read-only, or the release is damaged.
            WeightsError: A weight is missing, or another net's.
        """
        if "entry" in payload:
            note(f"cut {payload['entry']['label']}")
            return self._answer(lambda: self._file(Entry(**payload["entry"]), payload["portrait"]))
        note(f"cut {payload['key']}")
        release = self._opened(payload["release"], payload["version"])
        return self._answer(lambda: self._square(release, payload))

    def close(self) -> None:
        """Let go of the release."""
        self._release = None

    def _answer(self, cut: Callable[[], Piece]) -> Answer:
        try:
            return Answer(piece=cut().to_json(), reason="")
        except (UsageError, SourceError) as error:
            return Answer(piece=None, reason=error.message)

    def _file(self, entry: Entry, portrait: bool) -> Piece:
        self._scratch.mkdir(parents=True, exist_ok=True)
        path = local_copy(entry.uri, self._scratch)
        try:
            with _called(path, entry.label):
                return self._cutter.file(path, portrait=portrait)
        finally:
            if not _is_local(entry):
                path.unlink(missing_ok=True)

    def _square(self, release: Release, told: Mapping[str, Any]) -> Piece:
        data = release.read(told["key"], MEMBER)
        return self._cutter.square(data, told["sha256"], Fraction(told["fps"]))

    def _opened(self, name: str, version: str) -> Release:
        if self._release is None or self._release.version != version:
            self._release = Release.open(Lake.open(self._lake), name, version)
        return self._release


class ClipCutter:
    """Has clips cut: by workers, or in this process.

    Args:
        protocol: How.
        lake: Where films are kept.
        scratch: Folder for copies of remote files.
        progress: Told of each clip.
        run: Gives items to workers; without, clips are cut one after the other in this process.
    """

    def __init__(
        self,
        protocol: Protocol,
        lake: Lake,
        scratch: Path,
        progress: Progress = lambda name: None,
        run: Run | None = None,
    ) -> None:
        self._cut = protocol.cut
        self._places = Places(lake.root / "benchmarks")
        self._cutter = Cutter(protocol, self._places)
        self._progress = progress
        self._run = run or self._here
        arguments = {
            "lake": str(lake.root.absolute()),
            "protocol": protocol.settings(),
            "scratch": str(scratch.absolute()),
        }
        self._spec = WorkerSpec(FACTORY, arguments)

    def cut(self, clips: Sequence[Clip]) -> dict[str, Piece | str]:
        """Cut clips, unless that was done before.

        Returns:
            For each `Clip.id` the piece, or why there is none.

        Raises:
            CuttingStoppedError: Workers were stopped before they were through.
            LakeError: The disk is full or read-only, or a release is damaged.
        """
        asked = {clip.id: clip for clip in clips}
        found: dict[str, Piece | str] = {}
        items = self._missing(asked, found)
        first = next(items, None)
        if first is not None:
            for result in self._run(self._spec, chain([first], items)):
                clip = asked[result.id]
                found[clip.id] = self._outcome(clip, result)
                self._progress(clip.name)
        if left := len(asked.keys() - found.keys()):
            raise CuttingStoppedError(f"{left} of {len(asked)} clips were not cut")
        return found

    def _missing(self, asked: Mapping[str, Clip], found: dict[str, Piece | str]) -> Iterator[Item]:
        """Clips that a worker has to cut; what is known of the others goes into ``found``."""
        for clip in asked.values():
            known = self._known(clip.payload)
            if known is None:
                yield self._item(clip)
            else:
                found[clip.id] = known
                self._progress(clip.name)

    def _known(self, payload: Mapping[str, Any]) -> Piece | str | None:
        """What was cut before, or why nothing is to be cut; None where a worker has to find out.

        A remote file is known by its bytes alone, and fetching those may hang: workers do it.
        """
        try:
            if "entry" not in payload:
                return self._cutter.known_square(payload["sha256"], Fraction(payload["fps"]))
            entry = Entry(**payload["entry"])
            if entry.error or not _is_local(entry):
                return entry.error or None
            path = local_path(entry.uri)
            with _called(path, entry.label):
                return self._cutter.known_file(path, portrait=payload["portrait"])
        except (UsageError, SourceError) as error:
            return error.message

    def _item(self, clip: Clip) -> Item:
        if "entry" not in clip.payload:
            return Item(clip.id, clip.payload, 0, _LOADING + _A_FRAME * self._cut.frames)
        portrait, size = clip.payload["portrait"], clip.payload["entry"]["size"]
        frames = 1 if portrait else max(self._cut.frames, self._cut.repeat)
        deadline = _LOADING + _A_FRAME * frames + size / _BYTES_PER_SECOND
        return Item(clip.id, clip.payload, 0 if portrait else BUDGET, deadline)

    def _outcome(self, clip: Clip, result: Result) -> Piece | str:
        if isinstance(result, Lost):
            return _plain(_why(result), clip)
        answer: Answer = result.value
        told = answer["piece"]
        return answer["reason"] if told is None else Piece.from_json(told, self._places)

    def _here(self, spec: WorkerSpec, items: Iterable[Item]) -> Iterator[Result]:
        for item in items:
            value = self._worker.run(item.payload, lambda words: None)
            yield Done(item.id, value, "here", 0.0)

    @cached_property
    def _worker(self) -> CutWorker:
        return CutWorker(**self._spec.arguments)


def _why(lost: Lost) -> str:
    """Why a clip is left out over which a worker was lost twice."""
    return {
        "died": f"its worker died: {lost.error}",
        "hung": "its worker hung, and was ended",
        "memory": "its worker used up its memory",
        "raised": f"its worker raised {lost.error}: {lost.message}",
    }[lost.kind]


def _plain(words: str, clip: Clip) -> str:
    """Words in which a file is called as people do."""
    if "entry" not in clip.payload:
        return words
    return words.replace(str(local_path(clip.payload["entry"]["uri"])), clip.name)


def _is_local(entry: Entry) -> bool:
    return entry.uri.startswith("file://")


@contextmanager
def _called(path: Path, label: str) -> Iterator[None]:
    """Errors call the file as people do: a report's readers need not know our folders."""
    try:
        yield
    except (UsageError, SourceError) as error:
        raise type(error)(error.message.replace(str(path), label)) from error
