"""Clips that workers cut: the same as in this process, each loss told, nothing done twice."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import fsspec
import pytest
from PIL import Image
from skimage.data import astronaut

from catalog.lake import Lake
from evaluation.protocols.cases import CuttingStoppedError, prepare
from evaluation.protocols.cut_worker import FACTORY, ClipCutter, Progress, Run
from evaluation.protocols.cutting import Cutter, Piece
from evaluation.protocols.read import load_protocol
from evaluation.protocols.sources import Sourced, read_source
from infra.engine.base import Item, Kind, Lost, Resources, Result, WorkerSpec
from infra.engine.inline import InlineEngine
from infra.errors import LakeError, UsageError
from tests.test_sources import SMALL, released


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake", create=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face, the same face again, a picture without one, and what is no video at all."""
    folder = tmp_path_factory.mktemp("clips")
    face = Image.fromarray(astronaut()[:320, 60:380])
    face.save(folder / "face.png")
    face.save(folder / "twin.bmp")
    Image.new("RGB", (64, 64)).save(folder / "black.png")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


class Workers:
    """Has items done by an engine in this process, and remembers which."""

    def __init__(self, change: Callable[[list[Result]], list[Result]] = list) -> None:
        self.engine = InlineEngine()
        self.change = change
        self.batches: list[list[Item]] = []

    def __call__(self, spec: WorkerSpec, items: Iterable[Item]) -> Iterator[Result]:
        assert spec.factory == FACTORY
        drawn = [*items]
        self.batches.append(drawn)
        yield from self.change([*self.engine.pool("cuts", spec, Resources()).run(drawn)])

    @property
    def named(self) -> list[list[str]]:
        """What was sent, batch by batch."""
        return [[each.payload["entry"]["label"] for each in batch] for batch in self.batches]


def nobody(spec: WorkerSpec, items: Iterable[Item]) -> Iterator[Result]:
    raise AssertionError("nothing was to be cut")


def sourced(
    lake: Lake,
    source: object,
    *told: str,
    run: Run | None = None,
    progress: Progress = lambda name: None,
) -> Sourced:
    kind = "release" if source == "demo" else "folder"
    protocol = load_protocol("demo", [*SMALL, f"source.{kind}={source}", *told])
    cutter = ClipCutter(protocol, lake, lake.root / "tmp", progress, run)
    return read_source(protocol, lake, cutter)


def test_workers_cut_what_this_process_cuts_in_whatever_order(
    lake: Lake, clips: Path, tmp_path: Path
) -> None:
    seen: list[str] = []
    workers = Workers(lambda results: results[::-1])
    cut = sourced(lake, clips, run=workers, progress=seen.append)
    other = Lake.open(tmp_path / "other", create=True)
    here = sourced(other, clips)
    assert cut.left_out == here.left_out
    assert [each.name for each in cut.left_out] == ["black.png", "broken.mp4", "twin.bmp"]
    (subject,), (wanted,) = cut.subjects, here.subjects
    assert (subject.id, subject.name, subject.identity) == (wanted.id, "face.png", wanted.identity)
    assert subject.facts == wanted.facts
    assert subject.film.path.is_relative_to(lake.root)
    assert [*subject.film.pictures()]
    assert sorted(seen) == ["black.png", "broken.mp4", "face.png", "twin.bmp"]


def test_a_release_s_films_are_resized_by_workers(lake: Lake, tmp_path: Path) -> None:
    released(lake, tmp_path, {"train": 10, "test": 4, "val": 12})
    workers = Workers(lambda results: results[::-1])
    cut = sourced(lake, "demo", "source.split=all", run=workers)
    assert [each.name for each in cut.subjects] == ["clip 0.mp4", "clip 2.mp4"]
    assert [each.reason for each in cut.left_out] == ["it has 4 frames; 8 are needed"]
    here = sourced(lake, "demo", "source.split=all")
    assert (here.subjects, here.left_out) == (cut.subjects, cut.left_out)


def test_what_was_cut_is_sent_to_nobody(lake: Lake, clips: Path, tmp_path: Path) -> None:
    first = sourced(lake, clips / "face.png", run=Workers())
    assert sourced(lake, clips / "face.png", run=nobody) == first
    with pytest.raises(UsageError, match="2000 are needed"):
        sourced(lake, clips / "face.png", "cut.min_face=2000", run=nobody)
    released(lake, tmp_path, {"test": 10})
    first = sourced(lake, "demo", run=Workers())
    assert sourced(lake, "demo", run=nobody) == first


def test_a_film_s_piece_is_not_taken_for_a_picture_s(lake: Lake, clips: Path) -> None:
    as_three = sourced(lake, clips / "face.png", run=Workers())
    told = ("cut.repeat=5", "cut.frames=3", "cut.shortest=1")  # three frames would be a film's
    assert sourced(lake, clips / "face.png", *told, run=Workers()).subjects[0].film.frames == 5
    assert as_three.subjects[0].film.frames == 3


def test_a_limit_cuts_no_more_than_is_needed(lake: Lake, clips: Path) -> None:
    workers = Workers()
    cut = sourced(lake, clips, "source.limit=1", run=workers)
    assert [each.name for each in cut.subjects] == ["face.png"]
    assert workers.named == [["black.png"], ["broken.mp4"], ["face.png"]]
    workers = Workers()
    cut = sourced(lake, clips, "source.limit=2", run=workers)
    assert workers.named == [["black.png", "broken.mp4"], ["twin.bmp"]]
    assert [each.name for each in cut.subjects] == ["face.png"]


@pytest.mark.parametrize(
    ("kind", "error", "message", "reason"),
    [
        ("died", "SIGSEGV", "", "its worker died: SIGSEGV"),
        ("hung", "SIGKILL", "no sign of life", "its worker hung, and was ended"),
        ("memory", "MemoryError", "", "its worker used up its memory"),
        ("raised", "ValueError", "{path}: bad", "its worker raised ValueError: black.png: bad"),
    ],
)
def test_a_clip_over_which_workers_are_lost_is_left_out(
    lake: Lake, clips: Path, kind: Kind, error: str, message: str, reason: str
) -> None:
    told = message.format(path=clips / "black.png")

    def change(results: list[Result]) -> list[Result]:
        first, *others = results
        return [*others, Lost(first.id, kind, error, told, "", "", "w0", 1.0)]

    cut = sourced(lake, clips, "source.limit=3", run=Workers(change))
    assert [each.name for each in cut.subjects] == ["face.png"]
    assert (cut.left_out[0].name, cut.left_out[0].reason) == ("black.png", reason)


def test_results_that_are_missing_stop_it_with_a_word(lake: Lake, clips: Path) -> None:
    protocol = load_protocol("demo", [*SMALL, f"source.folder={clips}"])
    with pytest.raises(CuttingStoppedError, match="3 of 4 clips were not cut"):
        prepare(protocol, lake, lake.root / "tmp", run=Workers(lambda results: results[:1]))


def test_faces_for_light_are_cut_by_the_same_workers(
    lake: Lake, clips: Path, tmp_path: Path
) -> None:
    released(lake, tmp_path, {"test": 9})
    told = [*SMALL, "source.release=demo", "lights.faces=1", f"lights.folder={clips}"]
    workers = Workers()
    protocol = load_protocol("hdtf", told)
    found = prepare(protocol, lake, lake.root / "tmp", run=workers)
    assert [each.light.name for each in found.cases if each.light] == ["face.png"]
    portraits = [item for batch in workers.batches[1:] for item in batch]
    assert all(item.payload["portrait"] for item in portraits)
    assert len(portraits) == 3
    assert prepare(protocol, lake, lake.root / "tmp").left_out == found.left_out


def test_a_deadline_grows_with_the_frames_and_the_bytes(lake: Lake, clips: Path) -> None:
    workers = Workers()
    sourced(lake, clips, run=workers)
    deadlines = {each.payload["entry"]["label"]: each.deadline for each in workers.batches[0]}
    assert deadlines["broken.mp4"] == pytest.approx(120 + 2 * 9, abs=0.1)
    assert deadlines["twin.bmp"] > deadlines["broken.mp4"] + 0.2


def test_a_remote_file_is_fetched_by_a_worker_which_leaves_no_copy(lake: Lake, clips: Path) -> None:
    with fsspec.open("memory://cuts/face.png", "wb") as file:
        file.write((clips / "face.png").read_bytes())
    (near,) = sourced(lake, clips / "face.png").subjects
    workers = Workers()
    (far,) = sourced(lake, "memory://cuts/face.png", run=workers).subjects
    assert (far.id, workers.named) == (near.id, [["face.png"]])
    assert not [*(lake.root / "tmp").iterdir()]


def test_a_full_disk_is_no_clip_s_fault(
    lake: Lake, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Cutter, *args: object) -> Piece:
        raise LakeError("the disk is full")

    monkeypatch.setattr(Cutter, "_cut", full)
    with pytest.raises(LakeError, match="full"):
        sourced(lake, clips / "face.png", run=Workers())
