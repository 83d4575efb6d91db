"""Shading pictures drawn in one go equal those drawn step by step, bit for bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.models.shading import ShapePainter, render_shape, vertex_normals, visible_surface


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(1, 40), width=st.integers(1, 40))
def test_a_painter_draws_what_is_drawn_step_by_step(seed, height, width):
    random = np.random.default_rng(seed)
    painter = ShapePainter((height, width))
    for _ in range(3):  # its memory is used again
        vertices = random.uniform(-1.6, 1.6, (30, 3)).astype(np.float32)
        vertices[random.random(30) < 0.05] = np.nan
        faces = random.integers(0, 30, (25, 3)).astype(np.int32)
        normals = vertex_normals(np.nan_to_num(vertices), faces)
        light = random.uniform(-1, 2, (9, 3)).astype(np.float32)
        surface = visible_surface(normals, vertices, faces, (height, width))
        picture = painter.picture(normals, vertices, faces, light)
        np.testing.assert_array_equal(picture, render_shape(surface, light))
