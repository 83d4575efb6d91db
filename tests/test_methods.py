"""Methods that are judged: what they give back, and how they say that they cannot."""

import subprocess
import sys
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from skimage.data import astronaut

from evaluation.methods.base import Light, MethodError, Scratch, case_name
from evaluation.methods.command import Command
from evaluation.methods.dpr import dpr_light, with_luminance
from evaluation.methods.registry import METHODS, make_method, pinned, shown
from evaluation.protocols.lossless import Film, write_film
from infra.errors import UsageError
from infra.processes import Process, members
from stages.face_fit import FaceFitter
from stages.models.light import LUMINANCE
from stages.models.spherical_harmonics import far_lamp, shade

FRAMES, SIZE, FPS = 3, 128, Fraction(25)
LEFT, RIGHT = (
    Light(name, (0.4 * np.outer(far_lamp(angle, 0.2) * 2, np.ones(3))).astype(np.float32))
    for name, angle in (("left", -1.1), ("right", 1.1))
)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """A portrait's square, (256, 256, 3)."""
    return np.ascontiguousarray(astronaut()[0:256, 96:352])


@pytest.fixture(scope="module")
def portrait(tmp_path_factory, face) -> Film:
    """It stands still."""
    return write_film(tmp_path_factory.mktemp("film") / "anna.mkv", [face] * FRAMES, FPS)


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Film:
    """A film of no face, that no codec but a lossless one keeps."""
    frames = np.random.default_rng(1).integers(0, 256, (FRAMES, SIZE, SIZE, 3), np.uint8)
    return write_film(tmp_path_factory.mktemp("film") / "noise.mkv", list(frames), FPS)


@pytest.fixture
def scratch(tmp_path) -> Scratch:
    (tmp_path / "scratch").mkdir()
    return Scratch(tmp_path / "scratch", seed=5)


def frames_of(pictures) -> np.ndarray:
    return np.stack(list(pictures))


def sides(change: np.ndarray) -> tuple[float, float]:
    """Mean over the left and over the right half of the face."""
    grey = change @ LUMINANCE
    return grey[..., 70:150, 90:125].mean(), grey[..., 70:150, 125:160].mean()


def test_a_copy_is_the_film_to_the_bit(noise, scratch):
    made = make_method("copy").relight(noise, LEFT, scratch)
    np.testing.assert_array_equal(frames_of(made), frames_of(noise.pictures()))


def test_a_copy_holds_a_portrait_still(noise, face, scratch):
    made = frames_of(make_method("copy").animate(noise, face, scratch))
    np.testing.assert_array_equal(made, np.stack([face] * FRAMES))


def test_unknown_methods_and_options_are_told_with_what_is_allowed():
    with pytest.raises(UsageError, match="no method is called 'magic'") as error:
        make_method("magic")
    assert "copy, ratio, dpr, lcvd, folder, command" in error.value.hint
    with pytest.raises(UsageError, match=r"dpr: unknown key 'power'; allowed here: strength"):
        make_method("dpr", {"power": 2})
    with pytest.raises(UsageError, match=r"strength = -1 is not allowed"):
        make_method("dpr", {"strength": -1})


def test_options_decide_a_methods_digest():
    digests = [make_method("dpr", {"strength": s}).digest for s in (0.77, 0.77, 0.5)]
    assert digests[0] == digests[1] != digests[2]
    assert set(METHODS) == {entry.make.name for entry in METHODS.values()}


@pytest.fixture(scope="module")
def ratio():
    method = make_method("ratio")
    assert not method.unavailable()
    method.setup()
    return method


def test_under_its_own_light_a_ratio_leaves_the_film(ratio, portrait, face, scratch):
    own = FaceFitter().frames([face] * FRAMES, float(FPS)).light.mean(axis=0)
    made = frames_of(ratio.relight(portrait, Light("own", own), scratch))
    assert np.abs(made.astype(int) - face).mean() < 0.5


def test_a_ratio_brightens_the_lit_side_and_leaves_the_ground(ratio, portrait, face, scratch):
    made = [frames_of(ratio.relight(portrait, light, scratch)) for light in (LEFT, RIGHT)]
    for frames in made:
        assert (frames.shape, frames.dtype) == ((FRAMES, 256, 256, 3), np.uint8)
    left, right = (sides(frames.astype(float) - face) for frames in made)
    assert left[0] - left[1] > 10
    assert right[1] - right[0] > 10
    ground = np.abs(made[0].astype(int) - face)[:, :40, :30]
    assert ground.mean() < 2


def test_a_ratio_needs_a_face(ratio, noise, scratch):
    with pytest.raises(MethodError, match="no face is found"):
        list(ratio.relight(noise, LEFT, scratch))


@given(
    light=arrays.arrays(np.float32, (9, 3), elements=st.floats(-1, 1, width=32)),
    angles=st.tuples(st.floats(-3, 3), st.floats(-1.5, 1.5)),
)
def test_a_light_of_dpr_shades_every_surface_as_ours(light, angles):
    azimuth, elevation = angles
    x, y, z = (
        np.sin(azimuth) * np.cos(elevation),
        np.sin(elevation),
        np.cos(azimuth) * np.cos(elevation),
    )
    ours = shade(light, np.array([[x, y, z]], np.float32)) @ LUMINANCE
    theirs = dpr_basis(np.array([[x, -z, y]])) @ dpr_light(light)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


def dpr_basis(normals: np.ndarray) -> np.ndarray:
    """Orthonormal harmonics in DPR's order times those of the clamped cosine, (n, 9)."""
    x, y, z = normals.T
    first, second = np.sqrt(3) / 2, np.sqrt(15) / 2
    terms = [
        np.full_like(x, 0.5) * np.pi,
        *(first * 2 / 3 * np.pi * each for each in (y, z, x)),
        *(second * np.pi / 4 * each for each in (x * y, y * z)),
        np.sqrt(5) / 4 * np.pi / 4 * (3 * z * z - 1),
        second * np.pi / 4 * x * z,
        second / 2 * np.pi / 4 * (x * x - y * y),
    ]
    return np.stack(terms, axis=-1) / np.sqrt(np.pi)


@pytest.fixture(scope="module")
def dpr_weights(shared, tmp_path_factory):
    """The published network, where it is looked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMELIGHT_WEIGHTS", str(shared / "weights"))
        patch.setenv("LIMELIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        from infra.weights import prepare

        prepare(["dpr_512"])
        yield


@pytest.fixture(scope="module")
def golden(shared) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "lcvd" / "dpr.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def test_dprs_basis_is_the_references(golden):
    np.testing.assert_allclose(dpr_basis(golden["sh_normals"]), golden["sh_basis"], atol=1e-12)


def test_dpr_gives_the_references_luminance_light_and_picture(shared, dpr_weights, golden):
    import torch

    from evaluation.methods.dpr_network import Relighter

    net = Relighter(torch.device("cpu"))
    luminance = golden["in_lab_uint8"][..., 0].astype(np.float32) / np.float32(255)
    for target, tolerance in (("0", 2e-5), ("2", 6e-4), ("5", 6e-4)):
        made, found = net(luminance, golden[f"target_sh_{target}"])
        np.testing.assert_allclose(found, golden["predicted_sh"], atol=1e-5)
        wanted = golden[f"out_L_{target}"].astype(np.float32)
        np.testing.assert_allclose(made, wanted, atol=tolerance)
    picture = with_luminance(golden["in_lab_uint8"], golden["out_L_0"])
    kept = np.asarray(Image.open(shared / "golden" / "lcvd" / "dpr_out_0.png").convert("RGB"))
    np.testing.assert_array_equal(picture, kept)


def test_dpr_brightens_the_lit_side(dpr_weights, portrait, scratch, tmp_path, face):
    film = write_film(tmp_path / "one.mkv", [face], FPS)
    method = make_method("dpr")
    assert not method.unavailable()
    method.setup()
    left, right = (
        sides(frames_of(method.relight(film, light, scratch)).astype(float))
        for light in (LEFT, RIGHT)
    )
    assert left[0] - left[1] > 10 + right[0] - right[1]
    with pytest.raises(MethodError, match="night has no brightness"):
        list(method.relight(film, Light("night", np.zeros((9, 3), np.float32)), scratch))


def test_without_its_weights_dpr_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMELIGHT_CACHE", str(tmp_path))
    monkeypatch.delenv("LIMELIGHT_WEIGHTS", raising=False)
    assert "limelight weights pull dpr_512" in make_method("dpr").unavailable()


@dataclass
class Made:
    """Writes films as another program would."""

    folder: Path

    def film(self, name: str, frames: int = FRAMES, size: int = SIZE) -> np.ndarray:
        pictures = np.random.default_rng(2).integers(0, 256, (frames, size, size, 3), np.uint8)
        write_film(self.folder / name, list(pictures), FPS)
        return pictures

    def pictures(self, name: str, frames: int = FRAMES, first: int = 9) -> np.ndarray:
        (self.folder / name).mkdir()
        pictures = np.random.default_rng(3).integers(0, 256, (frames, SIZE, SIZE, 3), np.uint8)
        for index, picture in enumerate(pictures, first):
            Image.fromarray(picture).save(self.folder / name / f"frame_{index}.png")
        return pictures


@pytest.fixture
def elsewhere(tmp_path) -> Made:
    (tmp_path / "made").mkdir()
    return Made(tmp_path / "made")


def in_folder(elsewhere: Made):
    return make_method("folder", {"folder": str(elsewhere.folder)})


def test_films_made_elsewhere_are_found_by_the_case_s_name(elsewhere, noise, face, scratch):
    film = elsewhere.film("noise__left.mkv")
    pictures = elsewhere.pictures("noise__anna")  # frame_9, frame_10, frame_11
    method = in_folder(elsewhere)
    lit = method.relight(noise, LEFT, replace(scratch, case="noise__left"))
    np.testing.assert_array_equal(frames_of(lit), film)
    moved = method.animate(noise, face, replace(scratch, case="noise__anna"))
    np.testing.assert_array_equal(frames_of(moved), pictures)


@given(st.text(), st.text())
def test_a_case_s_name_never_leaves_a_folder(driving, other):
    name = case_name(driving, other)
    assert Path(name).name == name
    assert not name.startswith(".")


def test_a_missing_film_is_named(elsewhere, noise, scratch):
    with pytest.raises(MethodError, match=r"made/noise__left\.mkv is not there"):
        list(in_folder(elsewhere).relight(noise, LEFT, replace(scratch, case="noise__left")))
    gone = make_method("folder", {"folder": str(elsewhere.folder / "gone")})
    assert "there is no folder" in gone.unavailable()


@pytest.mark.parametrize(
    ("frames", "size", "words"),
    [
        (FRAMES - 1, SIZE, "has 2 frames; 3 are needed"),
        (FRAMES + 1, SIZE, "has more than the 3 frames"),
        (FRAMES, 64, "frame 0 of .* has 64 x 64 pixels; 128 x 128 are needed"),
    ],
)
def test_another_length_or_size_is_an_error(elsewhere, noise, scratch, frames, size, words):
    elsewhere.film("noise__left.mkv", frames, size)
    with pytest.raises(MethodError, match=words):
        list(in_folder(elsewhere).relight(noise, LEFT, replace(scratch, case="noise__left")))


def test_a_file_that_is_no_film_is_an_error(elsewhere, noise, scratch):
    (elsewhere.folder / "noise__left.mp4").write_bytes(b"no film at all")
    with pytest.raises(MethodError, match=r"noise__left\.mp4 cannot be read"):
        list(in_folder(elsewhere).relight(noise, LEFT, replace(scratch, case="noise__left")))


def test_other_films_make_another_method(elsewhere):
    elsewhere.film("noise__left.mkv")
    before = in_folder(elsewhere).digest
    assert in_folder(elsewhere).digest == before
    elsewhere.film("noise__left.mkv", frames=1)
    assert in_folder(elsewhere).digest != before


ECHO = """
import json, shutil, sys
driving, light, reference, output, *numbers = sys.argv[1:]
assert numbers == ["3", "128", "5"], numbers
assert json.load(open(light))["name"] == "left"
assert open(reference, "rb").read(4) == b"\\x89PNG"
shutil.copy(driving, output)
"""


def running(program: str, *arguments: str, **options) -> Command:
    argv = [sys.executable, "-I", "-S", "-c", program, *arguments]
    method = make_method("command", {"argv": argv, **options})
    assert isinstance(method, Command)
    return method


def test_a_command_is_told_all_and_its_film_is_read(noise, scratch):
    places = ("{driving}", "{light_json}", "{reference}", "{output}")
    method = running(ECHO, *places, "{frames}", "{size}", "{seed}", output="made.mkv")
    assert not method.unavailable()
    made = frames_of(method.relight(noise, LEFT, scratch))
    np.testing.assert_array_equal(made, frames_of(noise.pictures()))


def test_a_command_may_work_with_pictures(noise, scratch):
    copy = "import shutil, sys; shutil.copytree(*sys.argv[1:], dirs_exist_ok=True)"
    method = running(copy, "{driving}", "{output}", driving="pictures", modes=["animate"])
    portrait = next(noise.pictures())
    made = frames_of(method.animate(noise, portrait, scratch))
    np.testing.assert_array_equal(made, frames_of(noise.pictures()))
    assert method.modes == {"animate"}


def test_a_commands_environment_is_its_own(noise, scratch, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    program = "import os, sys; sys.exit(os.environ.get('PYTHONPATH', '') + os.environ['OWN'][::-1])"
    monkeypatch.setenv("OWN", "theirs")
    method = running(program, "{output}", env=["OWN"])
    with pytest.raises(MethodError, match=r"exit code 1 .* it said: srieht$"):
        list(method.relight(noise, LEFT, scratch))


def test_values_of_a_commands_environment_are_never_told(noise, scratch, monkeypatch):
    program = "import os, sys; sys.exit('no entry with ' + os.environ['KEY'])"
    monkeypatch.setenv("KEY", "t0p-secret")
    monkeypatch.setenv("PREFIX", "t0p-sec")
    method = running(program, "{output}", env=["PREFIX", "KEY"])
    with pytest.raises(MethodError, match=r"no entry with \$KEY$") as error:
        list(method.relight(noise, LEFT, scratch))
    options = {"argv": ["x", "{output}"], "env": ["KEY"]}
    told = [str(error.value), str(method.options())]
    told += [str(tell("command", options)) for tell in (shown, pinned)]
    assert not any("t0p" in each for each in told)
    assert all("KEY" in each for each in told)


def test_a_command_with_other_values_in_its_environment_is_another_method(monkeypatch):
    digests = []
    for value in ("one", "two", "one"):
        monkeypatch.setenv("KEY", value)
        digests.append(running("pass", "{output}", env=["KEY"]).digest)
    assert digests[0] == digests[2] != digests[1]
    assert running("pass", "{output}").digest not in digests


def test_a_variable_that_a_command_lacks_is_named(monkeypatch):
    monkeypatch.setenv("KEY", "value")
    monkeypatch.delenv("TOKEN", raising=False)
    method = running("pass", "{output}", env=["KEY", "TOKEN"])
    assert method.unavailable() == "the environment has no variable TOKEN"
    monkeypatch.setenv("TOKEN", "")
    assert not method.unavailable()


@pytest.mark.parametrize("env", [{"KEY": "t0p"}, ["KEY=t0p"], "t0p", [{"KEY": "t0p"}], 7])
def test_values_among_the_names_of_a_commands_environment_are_refused_unsaid(env):
    with pytest.raises(UsageError, match="env is a list of names") as error:
        running("pass", "{output}", env=env)
    assert "t0p" not in str(error.value)


def test_a_command_s_last_words_begin_with_a_whole_line(noise, scratch):
    program = "import sys; sys.exit('\\n'.join(f'/half/a/path/{n:04}' for n in range(900)))"
    with pytest.raises(MethodError, match=r"it said: /half/a/path/0\d{3}\n") as error:
        list(running(program, "{output}").relight(noise, LEFT, scratch))
    assert str(error.value).endswith("/0899")
    assert 1900 < len(str(error.value)) < 2100


def test_pinned_options_mean_the_same_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path)
    assert pinned("folder", {"folder": "made"}) == {"folder": f"{here}/made"}
    assert pinned("dpr", {}) == {}
    assert pinned("command", {"argv": ["./run", "{output}"]})["argv"][0] == f"{here}/run"
    inside = pinned("command", {"argv": ["./run", "{output}"], "cwd": "there"})
    assert (inside["argv"][0], inside["cwd"]) == ("./run", f"{here}/there")


def test_a_command_has_its_own_time_before_it_counts_as_hung():
    options = {"argv": ["x", "{output}"], "seconds": 5000.0}
    command, copy = make_method("command", options), make_method("copy")
    assert command.seconds(10, gpu=False) > 5000.0 > copy.seconds(10, gpu=False)


def test_a_model_has_longer_where_its_worker_is_given_no_gpu():
    lcvd = make_method("lcvd")
    assert lcvd.seconds(10, gpu=False) > 20 * lcvd.seconds(10, gpu=True)


@pytest.mark.parametrize(
    ("program", "options", "words"),
    [
        ("import sys; print('lost', file=sys.stderr); sys.exit(3)", {}, "exit code 3 .*said: lost"),
        ("import os; os.abort()", {}, "ended by signal 6"),
        ("import time; print(1, flush=True); time.sleep(60)", {"seconds": 0.5}, "within 0.5 s"),
        ("bytearray(1 << 30)", {"memory": 0.5}, r"(?s)0.5 GiB.*MemoryError"),
        ("pass", {"output": "made.mp4"}, r"made\.mp4 is not there"),
        ("pass", {}, "holds no pictures"),
    ],
)
def test_a_command_that_fails_says_why(noise, scratch, program, options, words):
    with pytest.raises(MethodError, match=words):
        list(running(program, "{output}", **options).relight(noise, LEFT, scratch))


def test_a_command_leaves_no_process(noise, scratch, tmp_path):
    note = tmp_path / "session"
    program = (
        "import os, subprocess, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "subprocess.Popen(sleep, process_group=0)\n"
        "open(sys.argv[1], 'w').write(str(os.getsid(0)))"
    )
    with pytest.raises(MethodError, match="holds no pictures"):
        list(running(program, str(note), "{output}").relight(noise, LEFT, scratch))
    assert members(int(note.read_text())) == []


DETACHED = """
import os, subprocess, sys, time
program = "import time; time.sleep(60)"
child = subprocess.Popen([sys.executable, "-S", "-c", program], start_new_session=True)
with open(sys.argv[1] + ".half", "w") as file:
    file.write(str(child.pid))
os.rename(sys.argv[1] + ".half", sys.argv[1])
time.sleep(float(sys.argv[2]))
"""
"""Starts a program in a session of its own, and tells its number."""


def test_what_a_command_detached_ends_with_it(noise, scratch, tmp_path):
    note = tmp_path / "pid"
    with pytest.raises(MethodError, match="holds no pictures"):
        list(running(DETACHED, str(note), "0", "{output}").relight(noise, LEFT, scratch))
    assert Process.find(int(note.read_text())) is None


def test_what_a_command_detached_ends_with_a_killed_worker(tmp_path):
    note = tmp_path / "pid"
    ours = (
        "import sys; from pathlib import Path; from evaluation.methods.confined import run_confined"
        "\nhere = Path(sys.argv[1]).parent"
        "\nrun_confined(sys.argv[2:], log=here / 'log', cwd=here, env={}, seconds=60, memory=0)"
    )
    argv = [sys.executable, "-I", "-S", "-c", DETACHED, str(note), "60"]
    worker = subprocess.Popen([sys.executable, "-c", ours, str(note), *argv])
    try:
        assert soon(note.exists)
    finally:
        worker.kill()
        worker.wait()
    pid = int(note.read_text())
    assert soon(lambda: Process.find(pid) is None)


def soon(holds) -> bool:
    """Whether something comes true within ten seconds."""
    until = time.monotonic() + 10
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return bool(holds())


def test_a_damaged_picture_is_an_error(elsewhere, noise, scratch):
    elsewhere.pictures("noise__left")
    broken = elsewhere.folder / "noise__left" / "frame_10.png"
    broken.write_bytes(broken.read_bytes()[:900])
    with pytest.raises(MethodError, match=r"noise__left cannot be read"):
        list(in_folder(elsewhere).relight(noise, LEFT, replace(scratch, case="noise__left")))


def test_a_template_must_make_sense(noise, scratch):
    for argv, words in (
        (["x", "{outptu}", "{output}"], r"\{outptu\} is none of \{driving\}, \{light\}"),
        (["x", "{driving}"], r"\{output\} is nowhere"),
    ):
        with pytest.raises(UsageError, match=words):
            make_method("command", {"argv": argv})
    with pytest.raises(MethodError, match="the light left has none"):
        list(running("pass", "{light}", "{output}").relight(noise, LEFT, scratch))
    gone = make_method("command", {"argv": ["/no/such/program", "{output}"]})
    assert gone.unavailable() == "there is no program /no/such/program"


def test_no_shell_sees_a_commands_words(noise, scratch):
    program = "import sys; sys.exit(sys.argv[1])"
    method = running(program, "$(echo x) {size} {'a': 1}; `id`", "{output}")
    with pytest.raises(MethodError, match=r"said: \$\(echo x\) 128 \{'a': 1\}; `id`$"):
        list(method.relight(noise, LEFT, scratch))
