"""Faces outside a build: pictures in, geometry and light out, relit without the picture."""

import numpy as np
import pytest
from skimage.data import astronaut

from stages.face_fit import FaceFitter
from stages.models.face_geometry import FaceGeometry


@pytest.fixture(scope="module")
def fitter() -> FaceFitter:
    return FaceFitter()


def test_a_picture_gives_one_frame_of_geometry(fitter):
    geometry = fitter.picture(astronaut())
    assert geometry is not None
    assert geometry.light.shape == (1, 9, 3)
    assert geometry.size == 512
    (shading,) = fitter.shading(geometry, 512)
    face = shading.any(axis=2)
    assert 0.02 < face.mean() < 0.2
    x, y = (np.flatnonzero(face.any(axis=axis)).mean() for axis in (0, 1))
    assert (x, y) == pytest.approx((222, 115), abs=25)


def test_a_picture_without_a_face_gives_none(fitter):
    assert fitter.picture(np.full((64, 64, 3), 90, np.uint8)) is None
    assert fitter.frames(np.full((2, 64, 64, 3), 90, np.uint8), fps=25) is None


def test_frames_give_a_geometry_each(fitter):
    frames = [astronaut()[:256, 90 + step : 346 + step] for step in range(4)]
    geometry = fitter.frames(frames, fps=25)
    assert geometry is not None
    assert len(geometry) == len(list(fitter.shading(geometry, 64))) == 4


def test_an_iterator_is_refused_before_it_is_used_up(fitter):
    frames = iter([astronaut()])
    with pytest.raises(ValueError, match="not an iterator"):
        fitter.frames(frames, fps=25)
    assert next(frames) is not None


def test_kept_arrays_are_relit_like_the_face_itself(fitter, tmp_path):
    geometry = fitter.picture(astronaut())
    np.savez(tmp_path / "params.npz", **geometry.arrays())
    with np.load(tmp_path / "params.npz") as arrays:
        kept = FaceGeometry.from_arrays(dict(arrays))
    light = np.zeros((9, 3), np.float32)
    light[0], light[1] = 1.5, 0.5
    (ours,), (theirs,) = (fitter.shading(g.under(light), 256) for g in (geometry, kept))
    np.testing.assert_array_equal(ours, theirs)
    assert (ours != next(fitter.shading(geometry, 256))).any()
