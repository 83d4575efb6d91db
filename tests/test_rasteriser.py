"""The rasteriser and LCVD's shape render, against PyTorch3D and against plain geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.models.raster.renderer import NumbaRenderer
from stages.models.rasteriser import NOTHING, ndc_to_pixels, rasterise
from stages.models.shading import ALBEDO, paint, render_shape, shape_colours
from tests.golden_render import CASES, assert_renders_the_golden, golden_mesh, golden_render


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return golden_render(request.param)


@pytest.fixture(scope="module")
def surface(case):
    return next(NumbaRenderer().surfaces([golden_mesh(case)], case["size"]))


def test_pixels_see_the_faces_that_pytorch3d_sees(case):
    vertices = ndc_to_pixels(case["in_trans_verts"], case["size"])
    fragments = rasterise(vertices, case["faces"], case["size"])
    np.testing.assert_array_equal(fragments.face, case["out_pix_to_face"])
    here = fragments.alpha
    # LCVD moves the mesh away by 10, which costs PyTorch3D's float32 two digits.
    depth = fragments.depth[here] + 10
    np.testing.assert_allclose(depth, case["out_zbuf"][here], rtol=0, atol=1e-3)
    if "out_bary" in case:
        np.testing.assert_allclose(
            fragments.barycentrics[here], case["out_bary"][here], rtol=0, atol=1e-4
        )


def test_the_shape_render_is_that_of_lcvd(case):
    assert_renders_the_golden(NumbaRenderer(), case)


def test_bytes_are_the_clamped_render(case, surface):
    light = case.get("in_lights")
    colours = paint(surface, shape_colours(surface, light))
    np.testing.assert_allclose(
        render_shape(surface, light), colours.clip(0, 1) * 255, rtol=0, atol=0.5 + 1e-3
    )


def test_pictures_are_those_of_the_surfaces(case, surface):
    light = case.get("in_lights", np.eye(9, 3))
    (picture,) = NumbaRenderer().pictures([golden_mesh(case)], [light], case["size"])
    np.testing.assert_array_equal(picture, render_shape(surface, light))


def test_albedo_scales_the_render(surface):
    light = np.zeros((9, 3))
    light[0] = 1
    full, half = (shape_colours(surface, light, albedo) for albedo in (ALBEDO, ALBEDO / 2))
    np.testing.assert_allclose(full, 2 * half, rtol=1e-6)


corner = st.tuples(st.floats(-4, 20), st.floats(-4, 20), st.floats(-1, 1))
triangle = st.lists(corner, min_size=3, max_size=3)


@given(triangle)
def test_barycentrics_and_depth_give_back_the_pixel_centre(corners):
    vertices = np.array(corners)
    fragments = rasterise(vertices, np.array([[0, 1, 2]]), (12, 16))
    rows, columns = np.nonzero(fragments.alpha)
    weights = fragments.barycentrics[rows, columns].astype(np.float64)
    assert (weights >= 0).all()
    centres = np.stack([columns + 0.5, rows + 0.5, fragments.depth[rows, columns]], axis=1)
    np.testing.assert_allclose(weights @ vertices, centres, atol=1e-4)


@given(triangle, st.permutations([0, 1, 2]))
def test_the_order_of_corners_changes_nothing_but_rounding(corners, order):
    vertices = np.array(corners)
    usual = rasterise(vertices, np.array([[0, 1, 2]]), (12, 16))
    other = rasterise(vertices, np.array([order]), (12, 16))
    differ = usual.alpha != other.alpha
    # Only a centre that lies on an edge, up to rounding, may fall either way.
    edge = usual.barycentrics.min(axis=2) + other.barycentrics.min(axis=2)
    assert (edge[differ] < 1e-6).all()


@given(st.lists(triangle, min_size=1, max_size=6))
def test_the_nearest_triangle_wins(triangles):
    vertices = np.array(triangles).reshape(-1, 3)
    faces = np.arange(len(vertices)).reshape(-1, 3)
    alone = np.stack([rasterise(vertices, face[None], (12, 16)).depth for face in faces])
    together = rasterise(vertices, faces, (12, 16))
    np.testing.assert_array_equal(together.depth, alone.min(axis=0))
    assert (together.alpha == np.isfinite(alone).any(axis=0)).all()


def test_a_right_triangle_covers_the_centres_strictly_inside():
    vertices = np.array([(0.0, 0, 0), (4, 0, 0), (0, 4, 0)])
    alpha = rasterise(vertices, np.array([[0, 1, 2]]), (4, 4)).alpha
    # The hypotenuse runs through the centres of the antidiagonal: they stay outside.
    np.testing.assert_array_equal(alpha, np.add.outer(range(4), range(4)) < 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [1, 2])
def test_triangles_without_a_place_are_not_drawn(bad, axis):
    vertices = np.array([(0.0, 0, 0), (8, 0, 0), (0, 4, 0), (8, 8, 1), (0, 8, 1)])
    vertices[2, axis] = bad
    fragments = rasterise(vertices, np.array([[0, 1, 2], [0, 1, 1], [1, 3, 4]]), (8, 8))
    assert set(np.unique(fragments.face)) == {NOTHING, 2}


@given(triangle)
def test_of_equal_triangles_the_first_is_seen(corners):
    fragments = rasterise(np.array(corners), np.array([[0, 1, 2]] * 3), (12, 16))
    assert (fragments.face <= 0).all()


def test_a_triangle_far_larger_than_the_picture_fills_it():
    vertices = np.array([(-1e9, -1e9, 0), (1e9, -1e9, 0), (0, 1e9, 0)])
    assert rasterise(vertices, np.array([[0, 1, 2]]), (5, 7)).alpha.all()


def test_faces_of_missing_vertices_are_refused():
    with pytest.raises(ValueError, match="3 vertices, not 0 to 3"):
        rasterise(np.zeros((3, 3)), np.array([[0, 1, 3]]), (4, 4))
