"""Video and masks as they are written: exact rate, structure, tags and values."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.encode import GreyWriter, VideoWriter
from stages.frames import SourceFrames
from tests.media import picture_at, plain


def write_video(path: Path, frames: list[np.ndarray], fps: Fraction = Fraction(25)) -> Path:
    height, width = frames[0].shape[:2]
    with VideoWriter(path, size=(width, height), fps=fps) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def write_masks(path: Path, masks: list[np.ndarray]) -> Path:
    height, width = masks[0].shape
    with GreyWriter(path, size=(width, height), fps=Fraction(25)) as writer:
        for mask in masks:
            writer.write(mask)
    return path


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001), Fraction(2997, 100)])
def test_video_keeps_frames_rate_structure_and_tags(tmp_path, fps):
    frames = [picture_at(t, 128, 96) for t in range(40)]
    path = write_video(tmp_path / "video.mp4", frames, fps)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.base_rate, stream.frames) == (fps, fps, 40)
        codec = stream.codec_context
        assert (codec.pix_fmt, codec.color_range) == ("yuv420p", 1)
        assert (codec.colorspace, codec.color_primaries, codec.color_trc) == (1, 1, 1)
        decoded = list(container.decode(stream))
    assert [i for i, frame in enumerate(decoded) if frame.key_frame] == [0, 16, 32]
    assert all(frame.pict_type in (1, 2) for frame in decoded)
    assert [frame.pts * frame.time_base for frame in decoded] == [t / fps for t in range(40)]


def test_colours_survive_the_normal_form(tmp_path):
    """Flat colours come back within rounding of 4:2:0 limited range, BT.709 both ways."""
    rng = np.random.default_rng(0)
    colours = [*rng.integers(0, 256, (20, 3)), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3]
    frames = [np.full((64, 64, 3), colour, np.uint8) for colour in colours]
    path = write_video(tmp_path / "colours.mp4", frames)
    for frame, colour in zip(SourceFrames(path, budget=0), colours, strict=True):
        assert np.abs(frame[32, 32].astype(int) - colour).max() <= 5


def test_luma_is_that_of_bt709(tmp_path):
    path = write_video(tmp_path / "green.mp4", [np.full((64, 64, 3), (0, 255, 0), np.uint8)] * 3)
    with av.open(str(path)) as container:
        luma = next(container.decode(video=0)).to_ndarray()[32, 32]
    assert abs(int(luma) - (16 + 219 * 0.7152)) <= 1


@pytest.mark.parametrize("kind", ["video", "masks"])
def test_random_access_equals_sequential_decode(tmp_path, kind):
    decord = pytest.importorskip("decord")
    if kind == "video":
        path = write_video(tmp_path / "v.mp4", [picture_at(t, 128, 96) for t in range(50)])
    else:
        path = write_masks(tmp_path / "v.mp4", [picture_at(t, 128, 96)[..., 0] for t in range(50)])
    expected = plain(path)
    reader = decord.VideoReader(str(path))
    assert len(reader) == len(expected) == 50
    order = np.random.default_rng(1).permutation(50)
    for index in order:
        assert np.array_equal(reader[int(index)].asnumpy(), expected[index])


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 20).map(lambda n: 2 * n),
    st.integers(1, 20).map(lambda n: 2 * n),
    st.integers(1, 20),
)
def test_masks_come_back_exactly(tmp_path_factory, seed, width, height, count):
    rng = np.random.default_rng(seed)
    masks = list(rng.integers(0, 256, (count, height, width), dtype=np.uint8))
    path = write_masks(tmp_path_factory.mktemp("masks") / "mask.mp4", masks)
    for frame, mask in zip(plain(path), masks, strict=True):
        assert np.array_equal(frame, np.repeat(mask[..., None], 3, axis=2))


def test_the_same_frames_give_the_same_bytes(tmp_path):
    frames = [picture_at(t, 128, 96) for t in range(40)]
    one = write_video(tmp_path / "one.mp4", frames).read_bytes()
    other = write_video(tmp_path / "other.mp4", frames).read_bytes()
    assert one == other
    masks = [frame[..., 0] for frame in frames]
    one = write_masks(tmp_path / "one.mp4", masks).read_bytes()
    assert one == write_masks(tmp_path / "other.mp4", masks).read_bytes()


def test_frames_of_another_shape_or_type_are_refused(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", size=(64, 64), fps=Fraction(25)) as writer:
        for wrong in (np.zeros((64, 66, 3), np.uint8), np.zeros((64, 64, 3), np.float32)):
            with pytest.raises(ValueError, match=r"\(64, 64, 3\), uint8 is needed"):
                writer.write(wrong)
        writer.write(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="even sizes"):
        GreyWriter(tmp_path / "m.mp4", size=(63, 64), fps=Fraction(25))


def test_masks_have_a_key_frame_every_second_frame(tmp_path):
    path = write_masks(tmp_path / "mask.mp4", [picture_at(t)[..., 0] for t in range(6)])
    with av.open(str(path)) as container:
        keys = [frame.key_frame for frame in container.decode(video=0)]
    assert keys == [True, False] * 3
