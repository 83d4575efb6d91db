"""Relighting from end to end by a small model of random weights: all but what faces look like."""

import errno
import json
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from typer.testing import CliRunner

from flows.cli.app import app
from infra.errors import LakeError, UsageError
from stages.encode import VideoWriter
from stages.frames import SourceFrames
from stages.sound import add_sound
from tests.media import write_film, write_sound
from training.loop.folder import RunFolder
from training.model.folder import LoadedModel, load_model, save_model
from training.model.lcvd import Lcvd
from training.recipe import load_recipe
from training.relight.facts import coefficients
from training.relight.film import DrivingFilm
from training.relight.generate import windows_at_once
from training.relight.light import Scene, between, lights
from training.relight.models import choose_model
from training.relight.options import RelightOptions
from training.relight.relight import RelightResult, relight, trained_geometry
from training.relight.results import Results, disk_errors, names_of

FPS = Fraction(24000, 1001)
FRAMES = 6
QUICK = RelightOptions(steps=1, grid=False)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model folder, in a lake that has no other run."""
    recipe = load_recipe(
        "lcvd-tiny",
        [
            *("data.size=64", "data.frames=4", "sampling.window=4", "sampling.overlap=2"),
            'sampling.detail="generated"',
        ],
    )
    torch.manual_seed(0)
    lcvd = Lcvd.build(recipe.model)
    for adapter in lcvd.adapters.values():  # new ones give zeros
        torch.nn.init.normal_(adapter.final_proj.weight, std=0.5)
    run = RunFolder(tmp_path_factory.mktemp("lake") / "runs" / "tiny")
    save_model(run.model, lcvd, recipe, {"step": 0})
    return run.model


@pytest.fixture(scope="module")
def model(folder) -> LoadedModel:
    return load_model(folder, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A camera that drifts over a portrait in a picture that is no square, with sound."""
    where = tmp_path_factory.mktemp("clip")
    with VideoWriter(where / "silent.mp4", size=(300, 260), fps=FPS) as film:
        for step in range(FRAMES):
            film.write(np.ascontiguousarray(astronaut()[step : 260 + step, 80 + step : 380 + step]))
    sound = write_sound(where / "sound.m4a", "aac", seconds=2.0)
    add_sound(where / "silent.mp4", sound, where / "clip.mp4")
    return where / "clip.mp4"


@pytest.fixture(scope="module")
def portrait(tmp_path_factory) -> Path:
    """Somebody in a picture of odd sides."""
    path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    Image.fromarray(astronaut()[:301, 70:421]).save(path)
    return path


@pytest.fixture(scope="module")
def relit(model, clip, tmp_path_factory) -> RelightResult:
    """The clip itself under another light, with all that comes beside it."""
    output = tmp_path_factory.mktemp("relit") / "new" / "out.mp4"
    return relight(model, clip, output, light="left", options=replace(QUICK, grid=True))


def frames_of(path: Path) -> list[np.ndarray]:
    return list(SourceFrames(path, budget=0))


def test_a_relit_film_keeps_rate_size_length_and_sound(relit, clip):
    with av.open(str(relit.output)) as made:
        video, (sound,) = made.streams.video[0], made.streams.audio
        assert (video.average_rate, video.frames) == (FPS, FRAMES)
        assert (video.width, video.height) == (300, 260)
        assert sound.codec_context.name == "aac"
        samples = sum(frame.samples for frame in made.decode(audio=0))
    assert samples / sound.rate == pytest.approx(FRAMES / float(FPS), abs=0.06)
    assert relit.facts["sound"] == "copied"


def test_the_face_is_made_anew_on_the_film_s_own_ground(relit, clip):
    changes = [
        np.abs(made.astype(int) - own).mean(axis=2)
        for made, own in zip(frames_of(relit.output), frames_of(clip), strict=True)
    ]
    # The face of frame 0 is about (142, 115); at the right, and above on the left, is ground.
    assert np.mean([change[90:140, 120:165].mean() for change in changes]) > 30
    assert np.mean([change[:40, 20:60].mean() for change in changes]) < 3


def test_under_its_own_light_the_films_own_pixels_stay(model, clip, tmp_path):
    kept = replace(QUICK, detail="original", grid=True)
    made = relight(model, clip, tmp_path / "own.mp4", light="reference", options=kept)
    for new, own in zip(frames_of(made.output), frames_of(clip), strict=True):
        assert np.abs(new.astype(int) - own).mean() < 2  # coding, and light that was averaged
    with av.open(str(made.grid)) as grid:
        assert grid.streams.video[0].width == 5 * 328 + 8  # what was generated is shown, too
    assert made.facts["detail"] == "original"


class ShadedGenerator:
    """Stands for a model that knows light and nothing else: what drives it, out of focus."""

    size = 64

    def __init__(self, model, portrait, matte, *, seed):
        pass

    def latents(self, conditions, frames, options, progress, cancelled):
        return [conditions.picture("shading", slot) for slot in range(1, frames + 1)]

    def pictures(self, latents):
        return (cv2.GaussianBlur(drawn, (0, 0), 3) // 2 + 64 for drawn in latents)


@pytest.mark.parametrize(("light", "side"), [("left", 1), ("right", -1)])
def test_the_films_own_face_is_brighter_where_the_light_comes_from(
    model, clip, tmp_path, monkeypatch, light, side
):
    monkeypatch.setattr(sys.modules[relight.__module__], "Generator", ShadedGenerator)
    kept = replace(QUICK, detail="original")
    made = relight(model, clip, tmp_path / "lit.mp4", light=light, options=kept)
    for new, own in zip(frames_of(made.output), frames_of(clip), strict=True):
        new, own = (cv2.cvtColor(f[85:145, 115:170], cv2.COLOR_RGB2GRAY) for f in (new, own))
        change = new.astype(float) - own
        assert side * (change[:, :20].mean() - change[:, -20:].mean()) > 20
        # What no generated portrait of this model has: the fine structure of the film's face.
        fine = [face - cv2.GaussianBlur(face.astype(float), (0, 0), 2) for face in (new, own)]
        assert np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1] > 0.9


def test_the_pixels_of_a_film_are_not_those_of_another_portrait(model, clip, portrait, tmp_path):
    kept = replace(QUICK, detail="original")
    with pytest.raises(UsageError, match="not in the film"):
        relight(model, clip, tmp_path / "o.mp4", reference=portrait, light="left", options=kept)


def test_grid_sheet_and_record_lie_beside_it_and_nothing_else(relit):
    names = {path.name for path in relit.output.parent.iterdir()}
    assert names == {"out.mp4", "out.grid.mp4", "out.sheet.jpg", "out.json"}
    assert len(frames_of(relit.grid)) == FRAMES
    record = json.loads(relit.record.read_text())
    assert record == json.loads(json.dumps(relit.facts))
    assert record["frames"] == FRAMES
    assert record["light_direction"][0] < -20
    assert {"track", "fit", "draw", "sample", "write"} <= set(record["seconds"])


def test_the_light_that_was_used_can_be_used_again(relit, model, clip, tmp_path):
    light = np.array(relit.facts["coefficients"])
    assert light.shape == (9, 3)
    options = replace(QUICK, frames=1)
    again = relight(model, clip, tmp_path / "again.mp4", light=light, options=options)
    np.testing.assert_allclose(again.facts["coefficients"], light, atol=1e-4)


def test_a_seed_makes_the_same_bytes_and_another_one_another_film(model, clip, tmp_path):
    made = [
        relight(
            model,
            clip,
            tmp_path / f"{i}.mp4",
            light="soft",
            options=replace(QUICK, frames=2, seed=s),
        ).output.read_bytes()
        for i, s in enumerate((5, 5, 6))
    ]
    assert made[0] == made[1] != made[2]


def test_light_changes_the_portrait_and_not_the_ground(model, clip, tmp_path):
    options = replace(QUICK, frames=1, guidance=3.0)
    one, other = (
        frames_of(relight(model, clip, tmp_path / f"{s}.mp4", light=s, options=options).output)[0]
        for s in ("left", "right")
    )
    change = np.abs(one.astype(int) - other).mean(axis=2)
    assert change[90:140, 120:165].mean() > 5 * max(change[:40, 20:60].mean(), 0.1)


def test_a_portrait_moves_on_its_own_ground_in_its_own_size(model, clip, portrait, tmp_path):
    told = []
    made = relight(
        model,
        clip,
        tmp_path / "moved.mp4",
        reference=portrait,
        light="orbit",
        options=replace(QUICK, align="relative"),
        progress=lambda part, done, total: told.append((part, done, total)),
    )
    frames = frames_of(made.output)
    assert [frame.shape for frame in frames] == [(300, 350, 3)] * FRAMES
    own = astronaut()[:300, 70:420]
    for frame in frames:
        assert np.abs(frame[:60, :40].astype(int) - own[:60, :40]).mean() < 3
    assert np.abs(frames[2][90:140, 130:175].astype(int) - own[90:140, 130:175]).mean() > 30
    assert np.array(made.facts["coefficients"]).shape == (FRAMES, 9, 3)
    last = {part: (done, total) for part, done, total in told}
    assert last["write"] == last["draw"] == last["fit"] == (FRAMES, FRAMES)
    assert last["sample"][0] == last["sample"][1]


def test_a_picture_that_drives_stands_still_for_as_long_as_asked(model, portrait, tmp_path):
    options = replace(QUICK, frames=3, background="regenerate")
    made = relight(model, portrait, tmp_path / "still.mp4", light="orbit", options=options)
    assert len(frames_of(made.output)) == made.facts["frames"] == 3
    assert made.facts["sound"] is None
    track = DrivingFilm(portrait, 3).track("mediapipe")
    np.testing.assert_array_equal(track.points, track.points[[0, 0, 0]])


def test_no_face_names_the_file(model, clip, tmp_path):
    wall = tmp_path / "wall.png"
    Image.fromarray(np.full((90, 90, 3), 120, np.uint8)).save(wall)
    for given in ({"reference": wall, "light": "left"}, {"light": str(wall)}):
        with pytest.raises(UsageError, match=r"no face is found in the (reference|light) .*wall"):
            relight(model, clip, tmp_path / "out.mp4", options=QUICK, **given)
    empty = write_film(tmp_path / "empty.mp4", frames=3)
    with pytest.raises(UsageError, match=r"no face is found in any frame of .*empty"):
        relight(model, empty, tmp_path / "out.mp4", light="left", options=QUICK)
    assert {path.name for path in tmp_path.iterdir()} == {"wall.png", "empty.mp4"}


@pytest.mark.parametrize(
    ("options", "light", "words"),
    [
        ({"mode": "landmarks"}, None, "needs a model with an adapter for landmarks"),
        ({}, None, "needs a --light"),
        ({"mode": "animate"}, "left", "takes the reference's own light"),
        ({"steps": 0}, "left", "--steps 0"),
        ({"frames": 0}, "left", "--frames 0"),
        ({"seed": -1}, "left", "--seed -1"),
        ({"guidance": -3.0}, "left", "--guidance -3"),
        ({"identity": float("nan")}, "left", "--identity nan"),
        ({"crf": 99}, "left", "--crf 99: 0 to 51"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(model, clip, tmp_path, options, light, words):
    with pytest.raises(UsageError, match=words):
        relight(
            model, clip, tmp_path / "a.mp4", light=light, options=replace(QUICK, **options),
            progress=lambda *told: pytest.fail(f"work began: {told}"),
        )  # fmt: skip


def test_output_must_be_a_new_mp4(model, clip, tmp_path):
    for output, words in ((tmp_path / "out.mov", "only .mp4"), (clip, "would overwrite")):
        with pytest.raises(UsageError, match=words):
            relight(model, clip, output, light="left", options=QUICK)


@pytest.mark.parametrize("made", ["sunset.mp4", "sunset.grid.mp4", "sunset.sheet.jpg"])
def test_nothing_that_a_film_is_made_of_is_written_over(model, clip, tmp_path, made):
    own = tmp_path / made
    own.write_bytes(b"a picture")
    path = tmp_path / "lights.json"
    path.write_text(json.dumps([{"frame": 0, "light": "left"}, {"frame": 9, "light": str(own)}]))
    with pytest.raises(UsageError, match=f"would overwrite .*{made}"):
        relight(model, clip, tmp_path / "sunset.mp4", light=path, options=QUICK)
    assert own.read_bytes() == b"a picture"


def test_a_light_beside_the_film_is_not_written_over(model, clip, tmp_path):
    path = tmp_path / "sunset.json"
    path.write_text("[1, 0, 0, 0, 0, 0, 0, 0, 0]")
    with pytest.raises(UsageError, match=r"would overwrite .*sunset\.json"):
        relight(model, clip, tmp_path / "sunset.mp4", light=str(path), options=QUICK)


def test_an_output_that_cannot_be_is_said_before_any_work(model, clip, tmp_path):
    (tmp_path / "out.mp4").mkdir()
    for output, words in (
        (tmp_path / "out.mp4", "is a folder"),
        (clip / "new" / "out.mp4", r"clip\.mp4 is no folder"),
    ):
        with pytest.raises(UsageError, match=words):
            relight(model, clip, output, light="left", options=QUICK)


def test_a_full_disk_names_the_output(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    words = r"out\.mp4 cannot be written: No space left"
    with pytest.raises(LakeError, match=words), disk_errors(tmp_path / "out.mp4"):
        raise full


def test_what_an_older_film_left_goes_with_it(tmp_path):
    output = tmp_path / "out.mp4"
    for path in names_of(output):
        path.write_bytes(b"old")
    with Results(output) as results:
        results.write(np.zeros((64, 64, 3), np.uint8), fps=FPS, crf=30)
        results.finish(SimpleNamespace(sounds=False), 1)
        results.publish({"light": "left"})
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out.json"}
    assert output.read_bytes() != b"old"


def test_a_light_that_changes_is_recorded_in_few_numbers_that_make_it_again():
    stops = {0.0: np.full((9, 3), 0.1), 20.5: np.full((9, 3), 2 / 3)}
    path = between(stops, 60)
    told = coefficients(stops, path)
    assert len(json.dumps(told)) < 1000
    scene = Scene(60, 25.0, path[0], np.empty((0, 3), np.float32), lambda _: path[0])
    np.testing.assert_allclose(lights({"coefficients": told}, scene), path, atol=2e-5)


@pytest.mark.parametrize(
    ("told", "asked", "drawn"),
    [
        ({"model": "deca", "region": "lcvd"}, "", ("deca", "lcvd")),
        ({"model": "deca", "region": "lcvd"}, "deca", ("deca", "lcvd")),
        ({"model": "deca", "region": "lcvd"}, "mediapipe_mesh", ("mediapipe_mesh", "face")),
        ({"model": "mediapipe_mesh"}, "", ("mediapipe_mesh", "face")),
        ({"model": "mediapipe_mesh"}, "deca", ("deca", "face")),
        ("deca", "", ("deca", "face")),
        (None, "", ("mediapipe_mesh", "face")),
        (None, "deca", ("deca", "face")),
    ],
)
def test_shading_is_drawn_as_the_model_was_trained_with(told, asked, drawn):
    geometry = trained_geometry({"geometry": told}, asked)
    assert (geometry.model, geometry.deca.region) == drawn


def test_landmarks_that_a_model_was_never_shown_do_not_drive_it():
    paper = load_recipe("lcvd-paper")
    unshown = paper.conditions.model_copy(update={"scheme": "branches"})
    with pytest.raises(UsageError, match=r"conditions\.posed"):
        RelightOptions(mode="landmarks").check(paper.model_copy(update={"conditions": unshown}))


@pytest.mark.parametrize(
    ("device", "grid", "windows"),
    [("cpu", 8, 4), ("cpu", 16, 2), ("cuda", 64, 2), ("cuda", 16, 32)],
)
def test_as_many_windows_go_through_at_once_as_fill_a_device(device, grid, windows):
    assert windows_at_once(torch.device(device), grid) == windows


def test_a_model_of_the_paper_s_scheme_refuses_a_second_guidance(model):
    recipe = load_recipe("lcvd-paper")
    with pytest.raises(UsageError, match="one guidance only"):
        RelightOptions(identity=2.0).check(recipe)
    RelightOptions(mode="landmarks").check(recipe)


def test_the_model_is_a_folder_a_run_or_the_last_that_finished(folder, tmp_path):
    lake = folder.parents[2]
    digest = load_model(folder, torch.device("cpu"), torch.float32).digest
    for wanted in (str(folder), "tiny", ""):
        assert choose_model(lake, wanted, torch.device("cpu")).digest == digest
    with pytest.raises(UsageError, match=r"no model folder.*\(tiny\)"):
        choose_model(lake, "large")
    with pytest.raises(UsageError, match="limelight train"):
        choose_model(tmp_path)


def test_the_command_relights(folder, clip, tmp_path):
    output = tmp_path / "out.mp4"
    arguments = ["relight", "--model", str(folder), "--driving", str(clip), "--output", str(output)]
    more = ["--light", "-40,30", "--frames", "1", "--steps", "1", "--no-grid", "--json"]
    made = CliRunner().invoke(app, arguments + more)
    assert made.exit_code == 0, made.output
    facts = json.loads(made.stdout)
    assert facts["frames"] == 1
    assert facts["light_direction"][0] < 0 < facts["light_direction"][1]
    assert len(frames_of(output)) == 1
