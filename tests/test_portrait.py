"""Frames of the normal form: crop, size, and where a point goes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.frames import PortraitFrames, SourceFrames
from tests.media import plain, write_film

BUDGET = 1 << 28


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", size=(128, 96))


def portrait(source: SourceFrames, crop: tuple[int, ...], size: int = 64) -> PortraitFrames:
    return PortraitFrames(source, {"crop": [float(v) for v in crop], "size": size}, budget=BUDGET)


def test_portraits_of_the_same_size_are_a_plain_crop(film):
    source = SourceFrames(film, budget=BUDGET)
    for frame, whole in zip(portrait(source, (10, 20, 64, 64)), plain(film), strict=True):
        assert np.array_equal(frame, whole[20:84, 10:74])


def test_portraits_repeat_the_border_outside_the_picture(film):
    source = SourceFrames(film, budget=BUDGET)
    frame = next(iter(portrait(source, (-16, -16, 128, 128), size=128)))
    whole = np.pad(plain(film)[0], ((16, 16), (16, 0), (0, 0)), mode="edge")
    assert np.array_equal(frame, whole[:, :128])


class OnePicture(SourceFrames):
    """A source of one given picture."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture

    def __iter__(self):
        yield self.picture


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 100),
    st.integers(0, 100),
    st.integers(40, 300),
    st.floats(0.25, 0.75),
    st.floats(0.25, 0.75),
)
def test_the_transform_tells_where_a_point_goes(x, y, side, u, v):
    """A soft dot around a source point is found where the transform sends the point."""
    centre = x + u * side, y + v * side
    rows, columns = np.mgrid[:400, :400]
    distance = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2
    dot = 255 * np.exp(-distance / (2 * (side / 24) ** 2))
    source = OnePicture(np.repeat(dot.astype(np.uint8)[..., None], 3, axis=2))
    frames = PortraitFrames(source, {"crop": [x, y, side, side], "size": 96}, budget=0)
    weights = next(iter(frames))[..., 0].astype(float)
    rows, columns = np.mgrid[:96, :96]
    found = [(weights * grid).sum() / weights.sum() for grid in (columns, rows)]
    assert found == pytest.approx(frames.transform @ (*centre, 1), abs=0.15)


@pytest.mark.parametrize("shape", [(90, 400), (60, 400), (400, 90), (400, 60)])
def test_a_squashed_picture_does_not_alias(shape):
    """Stripes finer than the target's pixels become their mean, whichever side is the long one."""
    rows, columns = np.indices(shape)
    stripes = (columns if shape[1] == 400 else rows) % 2 * 255
    source = OnePicture(np.repeat(stripes.astype(np.uint8)[..., None], 3, axis=2))
    frames = PortraitFrames(source, {"crop": [0, 0, *shape[::-1]], "size": 80}, budget=0)
    assert np.abs(next(iter(frames)) - 127.5).max() < 30


def test_a_portrait_does_not_keep_its_source_frame_in_memory():
    source = OnePicture(np.zeros((200, 200, 3), np.uint8))
    frames = PortraitFrames(source, {"crop": [10, 10, 80, 80], "size": 80}, budget=BUDGET)
    assert next(iter(frames)).base is None


def test_portraits_that_are_kept_free_the_source(film):
    source = SourceFrames(film, budget=BUDGET)
    frames = portrait(source, (0, 0, 96, 96))
    first = np.stack(list(frames))
    assert source._kept is None
    assert np.array_equal(np.stack(list(frames)), first)


def test_a_crop_of_parts_of_pixels_is_refused(film):
    with pytest.raises(ValueError, match="whole pixels"):
        PortraitFrames(SourceFrames(film, budget=0), {"crop": [0.5, 0, 9, 9], "size": 8}, budget=0)
