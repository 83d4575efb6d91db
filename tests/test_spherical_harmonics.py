"""Spherical-harmonic light: DECA's numbers, and the mathematics they come from."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.models.shading import vertex_normals
from stages.models.spherical_harmonics import CONSTANTS, basis, shade

GOLDEN = Path(__file__).parent / "golden/sh.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as archive:
        return dict(archive)


def test_constants_and_basis_are_those_of_deca(golden):
    np.testing.assert_allclose(CONSTANTS, golden["constant_factor"], atol=1e-7)
    np.testing.assert_allclose(
        basis(golden["normals"]), golden["basis_times_constant"], rtol=0, atol=2e-6
    )


def test_shading_is_that_of_deca(golden):
    for light, shading in zip(golden["lights"], golden["shading"], strict=True):
        np.testing.assert_allclose(shade(light, golden["normals"]), shading, rtol=0, atol=2e-6)


def test_vertex_normals_are_those_of_deca(golden):
    vertices, faces = golden["mesh_verts"], golden["mesh_faces"]
    np.testing.assert_allclose(
        vertex_normals(vertices, faces), golden["vertex_normals"], rtol=0, atol=1e-6
    )


def test_vertex_normals_of_a_part_of_the_faces_are_zero_elsewhere(golden):
    vertices, faces = golden["mesh_verts"], golden["mesh_faces"][golden["face_subset"]]
    normals = vertex_normals(vertices, faces)
    np.testing.assert_allclose(normals, golden["vertex_normals_subset"], rtol=0, atol=1e-6)
    assert not normals[~np.isin(np.arange(len(vertices)), faces)].any()


def test_vertex_normals_of_many_frames_are_those_of_each(golden):
    frames = golden["mesh_verts"] * np.array([1.0, 2.0, 3.0])[:, None, None]
    together = vertex_normals(frames, golden["mesh_faces"])
    apart = [vertex_normals(frame, golden["mesh_faces"]) for frame in frames]
    np.testing.assert_array_equal(together, np.stack(apart))


@given(st.integers(0, 2**32 - 1))
def test_shading_is_the_basis_times_the_light(seed):
    random = np.random.default_rng(seed)
    light = random.normal(size=(9, 3))
    normals = random.normal(size=(4, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(shade(light, normals), basis(normals) @ light, rtol=1e-4, atol=1e-4)


directions = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)


@given(directions)
def test_each_order_weighs_all_directions_alike(direction):
    """The addition theorem: squares within an order sum to one number on the whole sphere."""
    normals = np.array([direction, (0.0, 0.0, 1.0)])
    squares = basis(normals / np.linalg.norm(normals, axis=1, keepdims=True)) ** 2
    for order in (slice(0, 1), slice(1, 4), slice(4, 9)):
        here, at_pole = squares[:, order].sum(axis=1)
        assert here == pytest.approx(at_pole)


@given(directions, directions)
def test_the_first_order_is_the_cosine_to_its_direction(towards, normal):
    light = np.zeros((9, 3))
    light[1:4] = np.array(towards)[:, None]
    shading = shade(light, np.array([normal], np.float32))
    np.testing.assert_allclose(shading, CONSTANTS[1] * np.dot(towards, normal), atol=1e-6)


def test_a_light_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(9, 3\)"):
        shade(np.zeros((3, 9)), np.zeros((1, 3), np.float32))
