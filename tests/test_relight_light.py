"""Lights by name, by number and over time."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import UsageError
from stages.models.light import LUMINANCE, main_direction
from stages.models.shading import ALBEDO
from stages.models.spherical_harmonics import shade
from training.relight.light import DIRECTIONS, PRESETS, Lamp, Scene, Setup, exposed, lights

FRAMES = 9


def frontal_normals() -> np.ndarray:
    """About a face's: those of a sphere's front half."""
    normals = np.random.default_rng(3).normal(size=(4000, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return normals[normals[:, 2] > 0.2]


NORMALS = frontal_normals()
OWN = (np.array([1.4, 0.1, 0.2, 0.3, 0, 0, 0, 0, 0])[:, None] * [1.1, 1.0, 0.8]).astype(np.float32)
PICTURE_LIGHT = np.full((9, 3), 0.25, np.float32)
SCENE = Scene(FRAMES, 25.0, OWN, NORMALS, lambda path: PICTURE_LIGHT)


def mean_shading(light: np.ndarray) -> np.ndarray:
    return shade(light, NORMALS).clip(0).mean(axis=0)


@given(st.floats(-180, 180), st.floats(-90, 90), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_a_lamp_shades_by_the_cosine_as_well_as_nine_numbers_can(azimuth, elevation, seed):
    normals = np.random.default_rng(seed).normal(size=(50, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    turn, rise = np.radians([azimuth, elevation])
    towards = [np.cos(rise) * np.sin(turn), np.sin(rise), np.cos(rise) * np.cos(turn)]
    shading = shade(Lamp(azimuth, elevation).coefficients(), normals)
    np.testing.assert_allclose(shading[:, 0], (normals @ towards).clip(0), atol=0.1)


def test_even_light_is_even_and_as_strong_as_told():
    np.testing.assert_allclose(shade(Setup((), fill=0.7).coefficients(), NORMALS), 0.7, rtol=1e-5)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_direction_lights_the_side_that_it_names(name):
    azimuth, elevation = main_direction(lights(name, SCENE))
    wanted = DIRECTIONS[name]
    assert np.sign(round(azimuth / 20)) == np.sign(wanted[0])
    assert np.sign(round(elevation / 20)) == np.sign(wanted[1])


@pytest.mark.parametrize("name", [*PRESETS, *DIRECTIONS, "100,-20"])
def test_named_lights_keep_the_exposure_and_never_burn_out(name):
    light = lights(name, SCENE)[0]
    own, found = (mean_shading(each) @ LUMINANCE for each in (OWN, light))
    bright = np.quantile(shade(light, NORMALS) @ LUMINANCE, 0.97)
    assert bright <= 1 / ALBEDO + 1e-3
    assert found <= own * 1.001
    # Nothing keeps it darker than it was but the highlights, or that it comes from behind.
    assert found == pytest.approx(own, rel=1e-3) or bright > 1 / ALBEDO - 1e-3 or name == "rim"


def test_white_light_keeps_the_tint_of_the_reference():
    found, own = mean_shading(lights("front", SCENE)[0]), mean_shading(OWN)
    np.testing.assert_allclose(found / found.sum(), own / own.sum(), rtol=1e-4)


def test_a_face_in_the_dark_is_left_dark():
    assert not exposed(Setup((Lamp(0, 0),)).coefficients(), np.zeros((9, 3)), NORMALS).any()


def test_light_of_the_reference_a_picture_and_numbers_is_taken_as_it_is(tmp_path):
    picture = tmp_path / "face.png"
    picture.write_bytes(b"looked at by the scene alone")
    np.testing.assert_array_equal(lights("reference", SCENE), [OWN] * FRAMES)
    np.testing.assert_array_equal(lights(str(picture), SCENE), [PICTURE_LIGHT] * FRAMES)
    np.testing.assert_array_equal(lights(picture, SCENE, 0.5), [PICTURE_LIGHT / 2] * FRAMES)
    grey = lights(list(range(9)), SCENE)
    np.testing.assert_array_equal(grey[4], np.repeat(np.arange(9)[:, None], 3, axis=1))
    np.testing.assert_array_equal(lights(OWN, SCENE), [OWN] * FRAMES)


def test_a_list_is_spread_over_the_clip_and_one_a_frame_stays_so(tmp_path):
    path = tmp_path / "lights.json"
    path.write_text(json.dumps([[0.0] * 9, [8.0] * 9]))
    np.testing.assert_allclose(lights(str(path), SCENE)[:, 0, 0], np.arange(9), atol=1e-5)
    each = np.random.default_rng(0).normal(size=(FRAMES, 9, 3))
    np.testing.assert_allclose(lights(each, SCENE), each, rtol=1e-6)
    two = lights(["left", "right"], SCENE)
    assert main_direction(two[0])[0] < -20
    assert main_direction(two[-1])[0] > 20


def test_keyframes_are_met_held_at_the_ends_and_joined_by_lines():
    keyframes = [
        {"seconds": 0.24, "light": [4.0] * 9},  # frame 6
        {"frame": 2, "light": [0.0] * 9},
    ]
    found = lights(keyframes, SCENE)[:, 3, 1]
    np.testing.assert_allclose(found, [0, 0, 0, 1, 2, 3, 4, 4, 4], atol=1e-6)


def test_an_orbit_begins_above_goes_round_once_and_ends_where_it_began():
    scene = Scene(73, 25.0, OWN, NORMALS, SCENE.fit)
    path = lights("orbit", scene)
    np.testing.assert_allclose(path[0], path[-1], atol=1e-5)
    directions = [main_direction(path[frame]) for frame in (0, 18, 36, 54)]
    signs = [(np.sign(round(a / 20)), np.sign(round(e / 20))) for a, e in directions]
    assert signs == [(0, 1), (1, 0), (0, -1), (-1, 0)]


def test_one_frame_takes_the_first_light():
    scene = Scene(1, 25.0, OWN, NORMALS, SCENE.fit)
    np.testing.assert_array_equal(lights([[1.0] * 9, [2.0] * 9], scene)[0], np.ones((9, 3)))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("lefft", "rembrandt"),
        ("no/such/file.png", "preset"),
        ("200,0", "-180 to 180"),
        ([], "empty"),
        ([1.0, 2.0], "is no light"),
        ([float("nan")] * 9, "finite"),
        ([{"frame": 1, "light": [0.0] * 9, "colour": 1}], "seconds"),
        ([{"frame": -1, "light": [0.0] * 9}], "0 or more"),
        ([{"frame": 1, "light": [["left"], ["right"]]}], "is no light"),
        ({"frame": 1}, "is no light"),
        ("missing.json", "cannot be read"),
    ],
)
def test_what_is_no_light_is_refused_with_what_is_allowed(wanted, words):
    with pytest.raises(UsageError) as caught:
        lights(wanted, SCENE)
    assert words in str(caught.value)


def test_a_file_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "light.json"
    path.write_text("nine numbers")
    with pytest.raises(UsageError, match=r"light\.json is no JSON"):
        lights(Path(path), SCENE)


@pytest.mark.parametrize("intensity", [0.0, -1.0, float("nan")])
def test_an_intensity_that_is_none_is_refused(intensity):
    with pytest.raises(UsageError, match="above 0"):
        lights("left", SCENE, intensity)
