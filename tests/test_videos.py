"""What reports and studies show: films that browsers play, and pictures of lights."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from evaluation.cells.cell import LightTarget
from evaluation.protocols.lossless import Film, keep_film
from evaluation.videos.encode import BALL_SIZE, ball, light_picture, playable
from infra.errors import LakeError
from stages.models.spherical_harmonics import far_lamp
from tests.media import picture_at

WHITE = np.ones(3)


def film(folder: Path, frames: int = 4, size: int = 64) -> Film:
    """A soft ramp that turns from red to blue."""
    ramp = np.add.outer(np.arange(size), np.arange(size)) * 255 / (2 * size)
    moving = [
        np.stack([ramp / (number + 1), ramp, 255 - ramp], axis=-1).astype(np.uint8)
        for number in range(frames)
    ]
    return keep_film(folder, moving, Fraction(30000, 1001))


def lamp(azimuth: float, elevation: float = 0.0, colour: np.ndarray = WHITE) -> np.ndarray:
    return np.outer(far_lamp(np.radians(azimuth), np.radians(elevation)), colour)


def test_a_film_becomes_a_video_that_browsers_play_as_it_is(tmp_path: Path) -> None:
    kept = film(tmp_path / "films")
    name = playable(kept, tmp_path / "videos")
    assert name == f"{kept.digest[:32]}.mp4"
    data = (tmp_path / "videos" / name).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # it starts before it is loaded
    with av.open(str(tmp_path / "videos" / name)) as container:
        (stream,) = container.streams
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, codec.width) == ("h264", "yuv420p", 64)
        assert stream.average_rate == kept.fps
        shown = np.stack([frame.to_ndarray()[:64] for frame in container.decode(stream)])
    weights = np.array([0.2126, 0.7152, 0.0722]) * 219 / 255  # BT.709, limited range
    wanted = np.stack([*kept.pictures()]) @ weights + 16
    assert shown.shape == wanted.shape
    assert np.abs(shown - wanted).mean() < 1


def test_the_same_film_is_the_same_bytes_and_says_nothing_of_itself(tmp_path: Path) -> None:
    kept = film(tmp_path / "films")
    name = playable(kept, tmp_path / "one")
    playable(kept, tmp_path / "two")
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with av.open(str(tmp_path / "one" / name)) as container:
        told = {*container.metadata, *container.streams[0].metadata}
    brands = {"major_brand", "minor_version", "compatible_brands"}
    assert told <= brands | {"language", "handler_name", "vendor_id"}  # no title, no date


def test_a_video_that_is_there_is_not_encoded_again(tmp_path: Path) -> None:
    kept = film(tmp_path / "films")
    name = playable(kept, tmp_path / "videos")
    kept.path.unlink()
    assert playable(kept, tmp_path / "videos") == name


def test_a_damaged_film_makes_no_video_and_is_made_anew(tmp_path: Path) -> None:
    kept = film(tmp_path / "films")
    film(tmp_path / "other", frames=3).path.replace(kept.path)
    with pytest.raises(LakeError, match="made anew"):
        playable(kept, tmp_path / "videos")
    assert not kept.path.exists()
    assert not [*(tmp_path / "videos").iterdir()]


def test_a_face_is_copied_without_what_its_file_says(tmp_path: Path) -> None:
    face, told = picture_at(3, 64, 64), PngInfo()
    told.add_text("Author", "somebody")
    Image.fromarray(face).save(tmp_path / "face.png", pnginfo=told)
    target = LightTarget("a face", np.zeros((9, 3), np.float32), tmp_path / "face.png")
    name = light_picture(target, tmp_path / "videos")
    with Image.open(tmp_path / "videos" / name) as shown:
        assert np.array_equal(np.asarray(shown), face)
        assert not shown.info
    assert light_picture(target, tmp_path / "videos") == name


def test_a_face_that_cannot_be_read_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "face.png").write_bytes(b"no picture")
    target = LightTarget("a face", np.zeros((9, 3), np.float32), tmp_path / "face.png")
    with pytest.raises(LakeError, match="written anew"):
        light_picture(target, tmp_path / "videos")
    assert not (tmp_path / "face.png").exists()


def test_a_light_in_numbers_is_shown_on_a_ball(tmp_path: Path) -> None:
    names = {
        light_picture(LightTarget(str(side), lamp(side).astype(np.float32)), tmp_path)
        for side in (-65, 65)
    }
    assert len(names) == 2
    for name in names:
        with Image.open(tmp_path / name) as shown:
            assert shown.size == (BALL_SIZE, BALL_SIZE)


@settings(max_examples=30, deadline=None)
@given(
    azimuth=st.floats(-80, 80),
    elevation=st.floats(-80, 80),
    gain=st.floats(0.01, 100),
    colour=st.tuples(*[st.floats(0.3, 1)] * 3).map(np.array),
)
def test_a_ball_is_brightest_where_the_lamp_is_whatever_its_strength(
    azimuth: float, elevation: float, gain: float, colour: np.ndarray
) -> None:
    light = lamp(azimuth, elevation, colour)
    shown = ball(light, 96)
    assert np.abs(shown.astype(int) - ball(gain * light, 96)).max() <= 1
    assert shown.max() == 255
    assert not shown[::95, ::95].any()  # the ground is black
    rows, columns = np.nonzero(shown.max(-1) >= 250)
    x, y = columns.mean() / 48 - 1, 1 - rows.mean() / 48
    wanted = np.array(
        [
            np.sin(np.radians(azimuth)) * np.cos(np.radians(elevation)),
            np.sin(np.radians(elevation)),
        ]
    )
    assert np.abs([x, y] - 0.92 * wanted).max() < 0.12
    brightest = shown[rows, columns].mean(0)
    assert np.allclose(brightest / 255, colour / colour.max(), atol=0.05)


def test_a_ball_that_no_light_falls_on_is_black() -> None:
    assert not ball(np.zeros((9, 3)), 32).any()
