"""Sources of a benchmark: clips cut to the face, their lights, and what cannot be used."""

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from catalog.lake import Lake
from evaluation.cells.cell import LightTarget, Subject
from evaluation.cells.places import Places
from evaluation.protocols import cases as cases_module
from evaluation.protocols.cases import Prepared, prepare
from evaluation.protocols.cut_worker import ClipCutter
from evaluation.protocols.cutting import Cutter
from evaluation.protocols.lossless import Film
from evaluation.protocols.read import load_protocol
from evaluation.protocols.sources import Sourced, read_source
from evaluation.protocols.tables import Protocol
from infra.errors import LakeError, UsageError
from stages.encode import VideoWriter
from stages.face_fit import FaceFitter
from stages.frames import cut_portrait
from stages.geometry import Geometry
from stages.models.face_geometry import FaceGeometry
from tests.bench_fakes import pictures
from tests.releases import make_release, sample
from training.films import NormalFilm
from training.relight.light import DIRECTIONS

SMALL = ["size=64", "cut.frames=9", "cut.repeat=3"]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake", create=True)


@pytest.fixture
def clips(tmp_path: Path, shared: Path) -> Path:
    """A face, a picture without one, a film without one, and what is no video at all."""
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(shared / "media" / "reference.png", folder / "face.png")
    shutil.copy(shared / "media" / "reference.png", folder / "twin.png")
    shutil.copy(shared / "media" / "negative_animal_s36.jpg", folder / "animal.jpg")
    video(folder / "grey.mp4", np.full((9, 64, 64, 3), 99, np.uint8))
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def video(path: Path, frames: np.ndarray) -> bytes:
    height, width = frames.shape[1:3]
    with VideoWriter(path, size=(width, height), fps=Fraction(25)) as writer:
        for frame in frames:
            writer.write(frame)
    return path.read_bytes()


def prepared(lake: Lake, name: str, *told: str) -> Prepared:
    return prepare(load_protocol(name, [*SMALL, *told]), lake, lake.root / "tmp" / "bench")


def test_a_folder_gives_the_face_s_square_and_says_what_is_left_out(
    lake: Lake, clips: Path
) -> None:
    found = prepared(lake, "demo", f"source.folder={clips}")
    (subject,) = found.subjects
    assert (subject.name, subject.identity) == ("face.png", "face")
    assert (subject.film.frames, subject.film.size) == (3, 64)
    assert subject.film.path == Places(lake.root / "benchmarks").film(subject.id)
    reasons = {each.name: each.reason for each in found.left_out}
    assert reasons["animal.jpg"] == "no face is found in any frame of animal.jpg"
    assert reasons["grey.mp4"] == "no face is found in any frame of grey.mp4"
    assert "broken.mp4 cannot be used" in reasons["broken.mp4"]
    assert reasons["twin.png"] == "its frames are those of face.png"
    assert sorted(each.light.name for each in found.cases if each.light) == ["left", "right", "top"]
    lit = {each.light.name: each.light.coefficients for each in found.cases if each.light}
    assert lit["left"][1, 0] < 0 < lit["right"][1, 0]  # x to the picture's right
    assert found.origin == {"folder": str(clips), "layout": "plain"}


def test_what_was_cut_is_not_cut_again(
    lake: Lake, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = (f"source.folder={clips}/face.png", "lights.presets=['left']")
    first = prepared(lake, "demo", *told)
    monkeypatch.setattr(Cutter, "_cut", None)
    assert [each.id for each in prepared(lake, "demo", *told).cases] == [
        each.id for each in first.cases
    ]


def test_a_damaged_film_ends_the_run_and_the_next_one_cuts_it_anew(lake: Lake, clips: Path) -> None:
    told = (f"source.folder={clips}/face.png", "lights.presets=['left']")
    first = prepared(lake, "demo", *told)
    path = first.subjects[0].film.path
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(LakeError, match="made anew"):
        prepared(lake, "demo", *told, "lights.presets=['top']")
    assert not path.exists()
    again = prepared(lake, "demo", *told)
    assert [each.id for each in again.cases] == [each.id for each in first.cases]
    assert [*again.subjects[0].film.pictures()]


def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever a face is fitted."""
    made, fit = [], FaceFitter.picture

    def counted(self: FaceFitter, picture: np.ndarray) -> FaceGeometry | None:
        made.append(len(picture))
        return fit(self, picture)

    monkeypatch.setattr(FaceFitter, "picture", counted)
    return made


def test_a_face_is_fitted_once_for_all_its_lights_and_for_later_runs(
    lake: Lake, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, told = fits(monkeypatch), f"source.folder={clips}/face.png"
    first = prepared(lake, "demo", told, "lights.faces=1")
    assert len(made) == 2  # for its lights by name, and its first picture for its own
    again = prepared(lake, "demo", told, "lights.faces=1")
    assert [each.id for each in again.cases] == [each.id for each in first.cases]
    assert len(made) == 2
    prepared(lake, "demo", told, "lights.presets=['top', 'bottom']")
    assert len(made) == 3


def test_a_face_is_fitted_again_where_the_models_the_note_or_the_name_are_others(
    lake: Lake, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fits(monkeypatch)
    told = (f"source.folder={clips}/face.png", "lights.presets=['left']")
    prepared(lake, "demo", *told)
    (note,) = Places(lake.root / "benchmarks").films.glob("*.json")
    whole = note.read_bytes()
    note.write_bytes(whole.replace(b"0.", b"1.", 1))
    prepared(lake, "demo", *told)
    assert (len(made), note.read_bytes()) == (2, whole)
    monkeypatch.setattr(Geometry, "version", Geometry.version + 1)
    prepared(lake, "demo", *told)
    assert len(made) == 3
    monkeypatch.setitem(DIRECTIONS, "left", (-60.0, 0.0))
    prepared(lake, "demo", *told)
    assert len(made) == 4


def test_a_face_too_small_is_left_out(lake: Lake, clips: Path) -> None:
    with pytest.raises(UsageError, match=r"face\.png: its face is \d+ pixels high; 2000"):
        prepared(lake, "demo", f"source.folder={clips}/face.png", "cut.min_face=2000")


def test_the_light_of_a_reference_face_comes_with_its_picture(
    lake: Lake, clips: Path, shared: Path
) -> None:
    found = prepared(
        lake,
        "hdtf",
        f"source.folder={clips}/face.png",
        f"lights.folder={shared}/media/target_lighting2.png",
        "lights.faces=1",
    )
    (case,) = found.cases
    assert case.light
    assert case.light.name == "target_lighting2.png"
    assert case.light.film
    assert (case.light.film.frames, case.light.film.size) == (1, 64)
    assert case.light.picture
    assert case.light.picture.is_file()
    assert np.isfinite(case.light.coefficients).all()


def sourced_of(protocol: Protocol, lake: Lake) -> Sourced:
    return read_source(protocol, lake, ClipCutter(protocol, lake, lake.root / "tmp" / "bench"))


def released(lake: Lake, tmp_path: Path, lengths: dict[str, int]) -> None:
    samples = []
    for number, (split, frames) in enumerate(lengths.items()):
        data = video(tmp_path / f"{number}.mp4", pictures(number, frames, 96))
        samples.append(sample(number, split=split, **{"video.mp4": data}))
    make_release(lake.root, samples)


def test_a_release_gives_its_squares_resized(lake: Lake, tmp_path: Path) -> None:
    released(lake, tmp_path, {"train": 10, "test": 12, "val": 12})
    protocol = load_protocol("demo", [*SMALL, "source.release=demo"])
    sourced = sourced_of(protocol, lake)
    (subject,) = sourced.subjects
    assert (subject.name, subject.identity) == ("clip 1.mp4", "person1")
    assert (subject.film.frames, subject.film.fps) == (9, Fraction(30000, 1001))
    assert sourced.origin["release"] == "demo"
    with NormalFilm((tmp_path / "1.mp4").read_bytes()) as film:
        wanted = [cut_portrait(each, (0, 0, 96, 96), 64) for each in film.read(range(9))]
    assert np.array_equal(np.stack([*subject.film.pictures()]), np.stack(wanted))


def test_a_clip_too_short_is_left_out_and_a_limit_counts_the_others(
    lake: Lake, tmp_path: Path
) -> None:
    released(lake, tmp_path, {"train": 4, "val": 10, "test": 10})
    told = [*SMALL, "source.release=demo", "source.split=all", "source.limit=1"]
    sourced = sourced_of(load_protocol("demo", told), lake)
    assert [each.name for each in sourced.subjects] == ["clip 1.mp4"]
    assert [each.reason for each in sourced.left_out] == ["it has 4 frames; 8 are needed"]


def test_a_protocol_without_a_clip_says_what_is_wrong(lake: Lake, tmp_path: Path) -> None:
    released(lake, tmp_path, {"train": 10})
    (tmp_path / "empty").mkdir()
    for told, words in (
        ("size=64", "does not say whose clips"),
        ("source.release=demo", "release demo, split test is empty"),
        ("source.release=another", "there is no release 'another'"),
        (f"source.folder={tmp_path}/empty", "is empty"),
        (f"source.folder={tmp_path}/gone", "does not exist"),
    ):
        with pytest.raises(UsageError, match=words):
            prepared(lake, "demo", told)


def test_portraits_are_of_other_people_and_drawn_by_content(lake: Lake, tmp_path: Path) -> None:
    released(lake, tmp_path, {"train": 9, "val": 9, "test": 9})
    told = ["source.release=demo", "source.split=all"]
    found = prepared(lake, "cross-identity", *told)
    assert len(found.cases) == 3
    for case in found.cases:
        assert case.reference
        assert case.reference.identity != case.subject.identity
        assert case.reference.film.frames == 1
        assert case.light is None
    assert [each.id for each in prepared(lake, "cross-identity", *told).cases] == [
        each.id for each in found.cases
    ]
    other = prepared(lake, "cross-identity", *told, "seed=1")
    assert {each.id for each in other.cases}.isdisjoint(each.id for each in found.cases)


def test_too_few_people_for_portraits_are_told_of(lake: Lake, tmp_path: Path) -> None:
    released(lake, tmp_path, {"test": 9})
    with pytest.raises(UsageError, match=r"for clip 0\.mp4 there are 0"):
        prepared(lake, "cross-identity", "source.release=demo")


class FakeLighting:
    """Knows the light on every face at once."""

    def __init__(self, *args: object) -> None: ...

    def of_face(self, name: str, face: Film) -> LightTarget:
        return LightTarget(name, np.full((9, 3), len(name), np.float32), None, face)

    def named(self, subject: Subject, names: object) -> list[LightTarget]:
        return []


def test_reference_faces_are_of_different_people_first(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases_module, "Lighting", FakeLighting)
    released(lake, tmp_path, {"train": 9, "val": 9, "test": 9})
    told = ("source.release=demo", "source.split=all")
    found = prepared(lake, "hdtf", *told, "lights.faces=2")
    assert len(found.cases) == 6
    assert len({each.light.name for each in found.cases if each.light}) == 2
    with pytest.raises(UsageError, match="asks for 4 reference faces; there are 3"):
        prepared(lake, "hdtf", *told)
