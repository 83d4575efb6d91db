"""Motion carried over to another face, for landmarks and for DECA's coefficients alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.models.deca.coefficients import Coefficients
from stages.models.deca.motion import align_motion
from stages.models.face_geometry import FaceGeometry
from stages.models.rotations import matrices
from tests.test_motion import assert_same, some_face
from training.relight.align import Align, MovingHead, align_geometry, align_heads, align_points

seeds = st.integers(0, 2**32)
few = settings(max_examples=15, deadline=None)
EVERY: tuple[Align, ...] = ("relative", "scale", "so3")
FRAMES = 6


def some_head(rng: np.random.Generator, frames: int = FRAMES) -> MovingHead:
    """A head of 478 landmarks that turns, nears, wanders and grimaces."""
    shape = rng.normal(size=(478, 3))
    return MovingHead(
        rotation=matrices(rng.normal(0, 0.3, (frames, 3))),
        scale=rng.uniform(60, 120, frames),
        translation=rng.normal(0, 40, (frames, 3)),
        local=shape + rng.normal(0, 0.03, (frames, 478, 3)),
    )


def staying(head: MovingHead) -> MovingHead:
    """The same, always where and as large as in its first frame."""
    first = np.zeros(len(head), int)
    return MovingHead(head.rotation, head.scale[first], head.translation[first], head.local)


def points_of(head: MovingHead) -> np.ndarray:
    return head.points().astype(float)


@few
@given(seeds)
def test_pose_and_expression_make_up_the_landmarks(seed):
    points = points_of(some_head(np.random.default_rng(seed)))
    np.testing.assert_allclose(MovingHead.of(points).points(), points, atol=1e-2)


@few
@given(seeds)
def test_a_driver_that_is_the_reference_itself_moves_as_it_does(seed):
    driver = some_head(np.random.default_rng(seed))
    moved = align_heads(driver[:1], driver, "so3")
    np.testing.assert_allclose(points_of(moved), points_of(driver), atol=1e-3)
    driver = staying(driver)
    for align in ("relative", "scale"):
        moved = align_heads(driver[:1], driver, align)
        np.testing.assert_allclose(points_of(moved), points_of(driver), atol=1e-3)


@few
@given(seeds, st.sampled_from(EVERY), st.floats(0.4, 2.5))
def test_nothing_depends_on_where_and_how_large_the_driver_was_filmed(seed, align, scale):
    rng = np.random.default_rng(seed)
    reference, driver = points_of(some_head(rng, 1)), points_of(some_head(rng))
    filmed = driver * scale + [30, -20, 0]
    moved, again = (align_points(reference, each, align) for each in (driver, filmed))
    np.testing.assert_allclose(moved, again, atol=0.05)


@few
@given(seeds, st.sampled_from(("relative", "so3")))
def test_nothing_depends_on_whose_face_the_driver_has(seed, align):
    rng = np.random.default_rng(seed)
    reference, driver = some_head(rng, 1), some_head(rng)
    other = MovingHead(
        driver.rotation, driver.scale, driver.translation, driver.local + rng.normal(size=(478, 3))
    )
    moved, again = (align_heads(reference, each, align) for each in (driver, other))
    np.testing.assert_allclose(points_of(moved), points_of(again), atol=1e-3)


@few
@given(seeds)
def test_so3_carries_the_way_and_the_growth_in_units_of_the_head(seed):
    rng = np.random.default_rng(seed)
    reference, driver = some_head(rng, 1), some_head(rng)
    moved = align_heads(reference, driver, "so3")
    np.testing.assert_allclose(
        moved.scale / reference.scale, driver.scale / driver.scale[0], rtol=1e-9
    )
    ways = [(head.translation - head.translation[0]) / head.scale[0] for head in (moved, driver)]
    np.testing.assert_allclose(*ways, atol=1e-9)


@few
@given(seeds, st.sampled_from(("relative", "scale")))
def test_the_others_stay_where_and_as_large_as_the_reference_is(seed, align):
    rng = np.random.default_rng(seed)
    reference, driver = some_head(rng, 1), some_head(rng)
    moved = align_heads(reference, driver, align)
    np.testing.assert_array_equal(moved.scale, np.repeat(reference.scale, FRAMES))
    np.testing.assert_array_equal(moved.translation, np.repeat(reference.translation, FRAMES, 0))


def test_scale_takes_the_driver_s_own_turn_and_so3_its_change():
    rng = np.random.default_rng(1)
    reference, driver = some_head(rng, 1), some_head(rng)
    turned = align_heads(reference, driver, "scale").rotation
    np.testing.assert_array_equal(turned, driver.rotation)
    np.testing.assert_allclose(
        align_heads(reference, driver, "so3").rotation[0], reference.rotation[0], atol=1e-9
    )


def test_scale_measures_expression_from_the_frame_that_is_open_as_the_reference_is():
    rng = np.random.default_rng(2)
    driver = some_head(rng)
    moved = align_heads(driver[4:5], driver, "scale")
    np.testing.assert_allclose(moved.local, driver.local, atol=1e-9)


def mesh(head: MovingHead) -> FaceGeometry:
    parameters = {
        "landmarks": head.points(),
        "rotation": head.rotation,
        "scale": head.scale,
        "translation": head.translation,
        "head": head.local.mean(axis=0),
    }
    light = np.random.default_rng(0).normal(size=(len(head), 9, 3)).astype(np.float32)
    return FaceGeometry(light, parameters, 512)


@pytest.mark.parametrize("align", EVERY)
def test_a_mesh_moves_as_its_landmarks_under_the_reference_s_light(align):
    rng = np.random.default_rng(3)
    reference, driver = some_head(rng, 1), some_head(rng)
    moved = align_geometry(mesh(reference), mesh(driver), align)
    wanted = align_heads(reference, driver, align).points()
    np.testing.assert_allclose(moved.parameters["landmarks"], wanted, atol=1e-3)
    np.testing.assert_array_equal(moved.light, [mesh(reference).light[0]] * FRAMES)
    assert moved.size == 512


@pytest.mark.parametrize(
    ("align", "named"), [("relative", "relative"), ("scale", "absolute"), ("so3", "so3")]
)
def test_deca_s_coefficients_are_aligned_by_its_own_arithmetic(align, named):
    rng = np.random.default_rng(4)
    reference, driver = some_face(rng, 1), some_face(rng, FRAMES)
    moved = align_geometry(reference.geometry(512), driver.geometry(512), align)
    wanted = align_motion(reference, driver, reference.light[0], named)
    assert_same(Coefficients.from_arrays(moved.arrays()), wanted)


def test_more_than_one_reference_is_refused():
    many = mesh(some_head(np.random.default_rng(5)))
    with pytest.raises(ValueError, match="6 frames"):
        align_geometry(many, many, "so3")
