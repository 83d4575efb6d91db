"""LCVD as a method that is judged, by a small model of random weights."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from evaluation.methods.base import Light, MethodError, Scratch
from evaluation.methods.lcvd import Lcvd
from evaluation.methods.registry import make_method, pinned
from evaluation.protocols.lossless import Film, write_film
from stages.models.nets import one_thread
from stages.models.spherical_harmonics import far_lamp
from training.loop.folder import RunFolder
from training.model.folder import load_model, save_model
from training.model.lcvd import Lcvd as Network
from training.recipe import load_recipe

FRAMES, SIZE, FPS = 5, 96, Fraction(25)
LEFT, RIGHT = (
    Light(name, (0.8 * np.outer(far_lamp(angle, 0.2), np.ones(3))).astype(np.float32))
    for name, angle in (("left", -1.1), ("right", 1.1))
)


@pytest.fixture(scope="module", autouse=True)
def quiet():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    """A lake with one finished run, `tiny`."""
    small = ("data.size=64", "data.frames=4", "sampling.window=4", "sampling.overlap=2")
    recipe = load_recipe("lcvd-tiny", [*small])
    torch.manual_seed(0)
    network = Network.build(recipe.model)
    for adapter in network.adapters.values():  # new ones give zeros
        torch.nn.init.normal_(adapter.final_proj.weight, std=0.5)
    run = RunFolder(tmp_path_factory.mktemp("lake") / "runs" / "tiny")
    save_model(run.model, network, recipe, {"step": 0})
    return run.model.parents[2]


def named(lake: Path, **options) -> Lcvd:
    told = {"model": "tiny", "lake": str(lake), "steps": 1, "guidance": 3.0, **options}
    method = make_method("lcvd", told)
    assert isinstance(method, Lcvd)
    return method


@pytest.fixture(scope="module")
def lcvd(lake) -> Lcvd:
    method = named(lake)
    assert not method.unavailable()
    method.setup()
    return method


@pytest.fixture(scope="module")
def squares() -> list[np.ndarray]:
    """A portrait's square that drifts a little."""
    cuts = [astronaut()[k : 256 + k, 96:352] for k in range(FRAMES)]
    return [cv2.resize(cut, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for cut in cuts]


@pytest.fixture(scope="module")
def film(tmp_path_factory, squares) -> Film:
    return write_film(tmp_path_factory.mktemp("film") / "film.mkv", squares, FPS)


@pytest.fixture
def scratch(tmp_path) -> Scratch:
    (tmp_path / "scratch").mkdir()
    return Scratch(tmp_path / "scratch", seed=5)


def frames_of(pictures) -> np.ndarray:
    return np.stack(list(pictures))


def test_a_relit_film_has_the_films_length_and_size_and_follows_seed_and_light(lcvd, film, scratch):
    made = frames_of(lcvd.relight(film, LEFT, scratch))
    assert (made.shape, made.dtype) == ((FRAMES, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(frames_of(lcvd.relight(film, LEFT, scratch)), made)
    assert (frames_of(lcvd.relight(film, LEFT, replace(scratch, seed=6))) != made).any()
    assert (frames_of(lcvd.relight(film, RIGHT, scratch)) != made).any()


def test_a_portrait_moves_as_long_as_the_film(lcvd, film, squares, scratch):
    portrait = np.ascontiguousarray(squares[0][:, ::-1])
    made = frames_of(lcvd.animate(film, portrait, scratch))
    assert (made.shape, made.dtype) == ((FRAMES, SIZE, SIZE, 3), np.uint8)


def test_the_films_own_pixels_may_be_kept(lake, film, squares, scratch):
    method = named(lake, detail="original", guidance=1.0)
    method.setup()
    made, own = frames_of(method.relight(film, LEFT, scratch)), np.stack(squares)
    fine = [[cv2.Laplacian(each, cv2.CV_32F) for each in frames] for frames in (made, own)]
    assert np.corrcoef(np.ravel(fine[0]), np.ravel(fine[1]))[0, 1] > 0.7
    assert (made != own).any()


def test_a_film_of_no_face_is_an_error(lcvd, scratch, tmp_path):
    wall = write_film(tmp_path / "wall.mkv", [np.full((SIZE, SIZE, 3), 90, np.uint8)] * 2, FPS)
    with pytest.raises(MethodError, match="no face is found"):
        list(lcvd.relight(wall, LEFT, scratch))


def test_a_model_is_known_by_what_is_in_it(lake):
    folder = lake / "runs" / "tiny" / "model"
    by_path, by_run, last = (named(lake, model=model) for model in (str(folder), "tiny", ""))
    assert by_path.digest == by_run.digest == last.digest != named(lake, steps=2).digest
    digest = load_model(folder, torch.device("cpu"), torch.float32).digest
    assert by_run.options()["model"] == digest


def test_the_last_model_is_pinned_as_its_folder(lake, tmp_path, monkeypatch):
    folder = lake / "runs" / "tiny" / "model"
    told = pinned("lcvd", {"lake": str(lake), "steps": 2})
    assert told == {"lake": str(lake), "model": str(folder), "steps": 2}
    assert make_method("lcvd", told).digest == named(lake, model="", guidance=None, steps=2).digest
    monkeypatch.setenv("LIMELIGHT_CACHE", str(tmp_path))
    monkeypatch.delenv("LIMELIGHT_WEIGHTS", raising=False)
    assert pinned("lcvd", {"lake": str(tmp_path)})["model"] == ""
    assert "no training run" in make_method("lcvd", {"lake": str(tmp_path)}).unavailable()


def test_a_model_that_is_not_there_is_told(lake, tmp_path, monkeypatch):
    assert "no model folder" in named(lake, model="large").unavailable()
    monkeypatch.setenv("LIMELIGHT_CACHE", str(tmp_path))
    monkeypatch.delenv("LIMELIGHT_WEIGHTS", raising=False)
    assert "lcvd_unet" in named(lake, model="official").unavailable()
