"""Changes to a sample: the same for all of its streams, and as nature would have made them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.kpmap import draw_keypoints
from stages.models.face_landmarker.bundle import GEOMETRY, read_bundle
from stages.models.face_landmarker.canonical import CanonicalFace
from stages.models.mirror import MIRRORED
from stages.models.shading import ALBEDO, Surface, render_shape
from stages.models.spherical_harmonics import shade
from stages.models.topology import IMAGE_LEFT_EYE_CONTOUR, IMAGE_RIGHT_EYE_CONTOUR
from tests.training_release import (
    SIDE,
    dome_landmarks,
    dome_recipe,
    dome_release,
    domes_for_faces,
    side_light,
)
from training.recipe.tables import AugmentTable
from training.samples.augment import Augmentation
from training.samples.colours import DrawnColours
from training.samples.conditions import WindowConditions, mirrored_points, swapped_colours
from training.samples.quotient import DrawnLight, coarse, relight
from training.samples.read import SampleReader
from training.samples.view import View

FROM_THE_RIGHT = DrawnLight(azimuth=1.2, elevation=0.2, strength=0.7, energy=1.0)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return dome_release(tmp_path_factory.mktemp("augment"), (24,))


@pytest.fixture(autouse=True)
def domes():
    with domes_for_faces():
        yield


@pytest.fixture(scope="module")
def face(shared) -> np.ndarray:
    """MediaPipe's canonical face with irises, (478, 2), looking out of a picture."""
    path: Path = shared / "weights" / "face_landmarker_v2_with_blendshapes.task"
    points = CanonicalFace.parse(read_bundle(path)[GEOMETRY]).points * [1, -1, 1]
    ring = np.array([(0, 0), (1, 0), (0, -1), (-1, 0), (0, 1)]) * 0.4
    eyes = [points[list(pair), :2].mean(axis=0) + ring for pair in ((33, 133), (362, 263))]
    every = np.concatenate([points[:, :2], *eyes])
    return (every / 24 + 0.5).astype(np.float32)


def test_landmarks_change_places_with_those_of_the_other_side(face):
    assert (MIRRORED[MIRRORED] == np.arange(478)).all()
    assert (MIRRORED[list(IMAGE_LEFT_EYE_CONTOUR)] == IMAGE_RIGHT_EYE_CONTOUR).all()
    np.testing.assert_allclose(face[MIRRORED] * [-1, 1] + [1, 0], face, atol=1e-6)


def test_keypoint_maps_of_a_mirrored_face_keep_the_colours_of_its_sides(face):
    turned = face + np.float32([0.1, 0.05])
    plain = draw_keypoints(turned)
    mirrored = draw_keypoints(mirrored_points(turned, 512))
    np.testing.assert_allclose(
        mirrored_points(mirrored_points(turned, 512), 512), turned, atol=1e-6
    )
    flipped = plain[:, ::-1]
    # Lines of two pixels have no middle: mirrored they lie a pixel off.
    near = np.stack([np.roll(flipped, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    lit = mirrored.any(axis=-1)
    assert near[:, lit].any(axis=(0, 2)).mean() > 0.99
    same = (swapped_colours(near) == mirrored).all(axis=-1).any(axis=0)
    assert same[lit].mean() > 0.97
    assert not np.array_equal(mirrored, flipped)


def test_a_flipped_sample_is_the_mirror_image_in_all_streams(release):
    plain = SampleReader(release, dome_recipe())
    flipped = SampleReader(release, dome_recipe(augment={"flip": 1, "zoom": 0, "light": 0}))
    one, other = plain[3], flipped[3]
    for name in ("video", "mask", "shading"):
        first, second = (getattr(each, name).numpy() for each in (one, other))
        np.testing.assert_array_equal(second, first[:, :, ::-1])
    assert (one.landmarks != other.landmarks).any()


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_cut_moves_pictures_landmarks_and_meshes_alike(release, data):
    side = data.draw(st.integers(48, SIDE - 1))
    left, top = (data.draw(st.integers(0, SIDE - side)) for _ in range(2))
    view = View(SIDE, left, top, side, side)
    clips = SampleReader(release, dome_recipe()).clips
    rows, columns = slice(top, top + side), slice(left, left + side)

    def conditions(seen: View) -> WindowConditions:
        return WindowConditions(clips, 0, [0, 5], source="render", view=seen)

    whole = conditions(View.full(SIDE, SIDE)).shading()
    cut = conditions(view).shading()
    assert (np.abs(cut.astype(int) - whole[:, rows, columns]).max(axis=-1) > 1).mean() < 0.002
    np.testing.assert_array_equal(view.pictures(whole), whole[:, rows, columns])
    points = dome_landmarks(2)
    expected = points[..., :2] - [left, top]
    np.testing.assert_allclose(view.points(points) * side, expected, atol=1e-4)


@given(seed=st.integers(0, 2**32), zoom=st.floats(0, 0.99), whole=st.integers(64, 2048))
def test_cuts_are_squares_inside_the_pictures(seed, zoom, whole):
    table = AugmentTable(flip=0.5, zoom=zoom, light=0.5)
    change = Augmentation.draw(np.random.default_rng(seed), table)
    view = change.view(whole, 64)
    assert whole * (1 - zoom) - 1 <= view.side <= whole
    assert 0 <= view.left <= whole - view.side
    assert 0 <= view.top <= whole - view.side


def test_as_many_samples_are_changed_as_the_recipe_says():
    random = np.random.default_rng(0)
    drawn = [Augmentation.draw(random, AugmentTable(flip=0.2, light=0.7)) for _ in range(2000)]
    assert np.mean([each.flip for each in drawn]) == pytest.approx(0.2, abs=0.03)
    assert np.mean([each.light is not None for each in drawn]) == pytest.approx(0.7, abs=0.03)
    nothing = Augmentation.draw(random, AugmentTable(flip=0, zoom=0, light=0))
    assert (nothing.flip, nothing.zoom, nothing.light) == (False, 0.0, None)
    assert nothing.view(96, 64) == View.full(96, 64)


def test_switching_one_change_on_leaves_the_others_as_they_are():
    one, other = (
        Augmentation.draw(np.random.default_rng(1), AugmentTable(flip=0.5, zoom=0.1, light=light))
        for light in (0, 1)
    )
    assert other.light is not None
    assert (one.flip, one.zoom, one.across) == (other.flip, other.zoom, other.across)


@given(azimuth=st.floats(-1.5, 1.5), elevation=st.floats(-0.5, 1), energy=st.floats(0.8, 1.2))
@settings(deadline=None)
def test_a_drawn_light_is_a_lamps_clamped_cosine_over_even_light(azimuth, elevation, energy):
    random = np.random.default_rng(0)
    normals = random.standard_normal((500, 3))
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    light = DrawnLight(azimuth, elevation, 0.6, energy).beside(side_light(), normals)
    shading = shade(light, normals)
    lamp = [
        np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)
    ]  # fmt: skip
    form = 0.4 + 2 * 0.6 * (normals @ np.array(lamp)).clip(0)
    own = shade(side_light(), normals).mean()
    np.testing.assert_allclose(shading.mean(), energy * own, rtol=1e-4)
    # The second order of harmonics misses a clamped cosine by a tenth at most.
    np.testing.assert_allclose(shading[:, 0] / shading.mean(), form / form.mean(), atol=0.18)


def _window(release):
    clips = SampleReader(release, dome_recipe()).clips
    view = View.full(SIDE, SIDE)
    return WindowConditions(clips, 0, range(4), source="render", view=view)


def test_a_portrait_under_a_new_light_is_its_old_self_times_the_quotient(release):
    window = _window(release)
    surfaces = window.surfaces(SIDE)
    own = window.geometry.light
    pictures = np.stack([render_shape(*each) for each in zip(surfaces, own, strict=True)])
    cover = np.full(pictures.shape[:3], 255, np.uint8)
    lit, new = relight(pictures, cover, window.surfaces(coarse(SIDE)), own, FROM_THE_RIGHT)
    for picture, surface in zip(lit, surfaces, strict=True):
        expected = np.zeros((SIDE * SIDE, 3), np.float32)
        expected[surface.pixels] = ALBEDO * 255 * shade(new, surface.normals).clip(0)
        inner = (expected > 0).reshape(SIDE, SIDE, 3)[8:-8, 20:-24]
        miss = np.abs(picture - expected.reshape(SIDE, SIDE, 3))[8:-8, 20:-24]
        assert np.median(miss[inner]) < 4
        assert np.percentile(miss[inner], 95) < 20


def test_new_light_comes_from_its_side_and_leaves_the_ground(release):
    window = _window(release)
    random = np.random.default_rng(0)
    pictures = random.integers(90, 130, (4, SIDE, SIDE, 3), dtype=np.uint8)
    alpha = np.zeros((4, SIDE, SIDE), np.uint8)
    alpha[:, 10:-10, 20:-20] = 255
    lit, _ = relight(
        pictures, alpha, window.surfaces(coarse(SIDE)), window.geometry.light, FROM_THE_RIGHT
    )
    np.testing.assert_array_equal(lit[alpha == 0], pictures[alpha == 0])
    gain = lit.mean(axis=(0, 1, 3)) / pictures.mean(axis=(0, 1, 3))
    assert gain[60:70].mean() > 1.1 > 0.9 > gain[22:32].mean()
    assert (lit[alpha > 0] != pictures[alpha > 0]).mean() > 0.5


def test_a_face_that_nobody_sees_stays_as_it_is():
    nobody = Surface((24, 24), np.zeros(0, np.int64), np.zeros((0, 3), np.float32))
    pictures = np.full((2, SIDE, SIDE, 3), 9, np.uint8)
    own = np.stack([side_light(), 2 * side_light()])
    lit, light = relight(pictures, pictures[..., 0], [nobody] * 2, own, FROM_THE_RIGHT)
    np.testing.assert_array_equal(lit, pictures)
    np.testing.assert_allclose(light, 1.5 * side_light())


def test_a_relit_sample_keeps_its_reference_and_shows_its_light_in_the_shading(release):
    lit = SampleReader(release, dome_recipe(augment={"flip": 0, "zoom": 0, "light": 1}))[2]
    plain = SampleReader(release, dome_recipe())[2]
    for name in ("video", "shading"):
        first, second = (getattr(each, name).numpy() for each in (plain, lit))
        np.testing.assert_array_equal(first[0], second[0])
        assert (first[1:] != second[1:]).any(axis=(1, 2, 3)).all()
    assert (plain.mask == lit.mask).all()
    assert (plain.landmarks == lit.landmarks).all()


def test_without_colour_pictures_stay_as_they_are():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    same = DrawnColours.draw(np.random.default_rng(0), 0.0)(pictures)
    assert np.abs(same.astype(int) - pictures).max() <= 1


def test_a_turned_hue_keeps_brightness_and_grey():
    red, grey = [140, 100, 100], [90, 90, 90]
    turned = DrawnColours(np.pi, 1.0, 1.0)(np.full((1, 2, 2, 3), red, np.uint8))[0, 0, 0]
    weights = np.array([0.299, 0.587, 0.114])
    assert abs(turned @ weights - red @ weights) <= 1
    assert turned[0] < turned[1]
    assert (DrawnColours(2.0, 0.5, 1.0)(np.full((1, 2, 2, 3), grey, np.uint8)) == grey).all()


def test_colours_change_all_frames_alike_and_the_shading_not(release):
    still = {"flip": 0, "zoom": 0, "light": 0}
    plain = SampleReader(release, dome_recipe(augment=still))[2]
    reader = SampleReader(release, dome_recipe(augment=still | {"colour": 0.8}))
    coloured = reader[2]
    assert not np.allclose(coloured.video, plain.video, atol=0.02)
    assert (coloured.shading == plain.shading).all()
    assert (reader[2].video == coloured.video).all()
