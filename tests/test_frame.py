"""The static square around the face, and the normal form that is cut out of it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.base import Product, Rejected
from stages.clip import Clip
from stages.frame import Frame, FrameConfig, choose_crop, face_boxes
from stages.probe import Probe, ProbeConfig
from tests.media import FRAMES, plain, write_film, write_sound
from tests.test_sound import add_sound


def boxes_of(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    """(x, y, w, h) to the (left, top, right, bottom) that `choose_crop` takes."""
    x, y, w, h = np.array(boxes, float).T
    return np.stack([x, y, x + w, y + h], axis=1)


def clip_with_face(
    folder: Path, film: Path, face: tuple[float, float, float, float], strays: int = 0
) -> Clip:
    """A clip whose landmarks fill a box; in ``strays`` frames they are invalid, and far off."""
    clip = Clip("c", film, folder, load=lambda stage, name: folder / name)
    clip.facts["probe"] = Probe(ProbeConfig()).process(clip).facts
    frames = clip.facts["probe"]["frames"]
    x, y, w, h = face
    corners = np.array([[x, y, 0], [x + w, y + h, 0], [x + w / 2, y + h / 2, 0]], np.float32)
    points = np.repeat(corners[None], frames, axis=0)
    valid = np.ones(frames, bool)
    points[:strays] += 1000
    valid[:strays] = False
    np.savez(folder / "landmarks.npz", points=points, valid=valid)
    return clip


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", size=(192, 128))


def frame(clip: Clip, **config: object) -> Product:
    return Frame(FrameConfig(**config)).process(clip)


faces = st.tuples(
    st.floats(0, 300), st.floats(0, 200), st.floats(10, 120), st.floats(10, 120)
)  # x, y, w, h


@given(st.lists(faces, min_size=1, max_size=12), st.integers(64, 640), st.integers(64, 640))
def test_the_square_holds_the_face_and_stays_in_the_picture_if_it_can(boxes, width, height):
    bounds = boxes_of(*boxes)
    bounds[:, 0::2] = bounds[:, 0::2].clip(0, width - 1)
    bounds[:, 1::2] = bounds[:, 1::2].clip(0, height - 1)
    x, y, w, h = choose_crop("face", bounds, (width, height), 0.6)
    assert w == h >= 1
    low = np.quantile(bounds[:, :2], 0.02, axis=0)
    high = np.quantile(bounds[:, 2:], 0.98, axis=0)
    assert (np.array([x, y]) - 0.5 <= low + 1).all()
    assert (np.array([x + w, y + h]) - 0.5 >= high - 1).all()
    assert w <= max(min(width, height), round((high - low).max()))
    for start, side, extent in ((x, w, width), (y, h, height)):
        assert start >= min(0, extent - side)
        assert start + side <= max(extent, side)


def test_room_is_left_on_each_side_in_heights_of_the_face():
    crop = choose_crop("face", boxes_of((500, 300, 80, 100)), (1280, 720), 0.6)
    assert crop == (430, 240, 220, 220)


def test_a_moving_face_stays_inside():
    path = [(400 + 3 * t, 300, 80, 100) for t in range(100)]
    x, _, side, _ = choose_crop("face", boxes_of(*path), (1280, 720), 0.6)
    assert x <= 400
    assert x + side >= 400 + 3 * 99 + 80


def test_the_square_is_shifted_before_it_shrinks():
    assert choose_crop("face", boxes_of((0, 0, 80, 100)), (1280, 720), 0.6) == (0, 0, 220, 220)
    x, y, side, _ = choose_crop("face", boxes_of((600, 200, 300, 400)), (1280, 720), 0.6)
    assert (y, side) == (0, 720)
    assert x == 390


def test_one_stray_frame_does_not_widen_the_square():
    steady = [(500.0, 300.0, 80.0, 100.0)] * 99
    with_stray = boxes_of(*steady, (1100, 20, 80, 100))
    assert choose_crop("face", with_stray, (1280, 720), 0.6) == (430, 240, 220, 220)


def test_other_fits_do_not_look_at_the_face():
    boxes = boxes_of((0, 0, 80, 100))
    assert choose_crop("centre", boxes, (1280, 720), 0.6) == (280, 0, 720, 720)
    assert choose_crop("squash", boxes, (1280, 720), 0.6) == (0, 0, 1280, 720)


def test_boxes_bound_the_points():
    points = np.array([[[3, 9, 1], [5, 2, 1], [4, 4, 99]]], np.float32)
    assert face_boxes(points).tolist() == [[3, 2, 5, 9]]


def test_the_normal_form_is_the_resized_crop(tmp_path, film):
    clip = clip_with_face(tmp_path, film, (80, 40, 50, 50), strays=3)
    product = frame(clip, size=128, crf=5, min_face=20)
    assert product.facts == {
        "crop": [50.0, 10.0, 110.0, 110.0],
        "size": 128,
        "fps": "25/1",
        "frames": FRAMES,
        "fit": "face",
        "face": pytest.approx(50 * 128 / 110, abs=0.01),
        "audio": None,
    }
    assert list(product.files) == ["video.mp4"]
    written = plain(product.files["video.mp4"])
    for a, b in zip(written, clip.portrait, strict=True):
        assert np.abs(a.astype(int) - b).mean() < 5


def test_the_bytes_do_not_depend_on_what_ran_before(tmp_path, film):
    clip = clip_with_face(tmp_path, film, (80, 40, 50, 50))
    together = frame(clip, size=128).files["video.mp4"].read_bytes()
    alone = Clip("c", film, tmp_path, facts=dict(clip.facts), load=clip._load, budget=0)
    assert frame(alone, size=128).files["video.mp4"].read_bytes() == together


def test_a_face_too_small_is_rejected_with_its_size(tmp_path, film):
    clip = clip_with_face(tmp_path, film, (80, 40, 30, 30))
    with pytest.raises(Rejected, match="the face is 30 pixels high; at least 40") as decision:
        frame(clip)
    assert decision.value.score == 30


def test_a_face_outside_the_centred_square_is_rejected(tmp_path, film):
    clip = clip_with_face(tmp_path, film, (2, 40, 45, 45))
    with pytest.raises(Rejected, match="not inside the square that fit = 'centre'"):
        frame(clip, fit="centre")


@pytest.mark.parametrize("asked", [True, False])
def test_sound_is_kept_if_asked_for(tmp_path, film, asked):
    sound = write_sound(tmp_path / "sound.m4a", "aac", seconds=2.0)
    both = add_sound(film, sound, tmp_path / "both.mp4")
    clip = clip_with_face(tmp_path, both, (80, 40, 50, 50))
    product = frame(clip, size=64, audio=asked)
    assert product.facts["audio"] == ("copied" if asked else None)
    assert ("audio.m4a" in product.files) == asked


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30_000, 1001)])
def test_the_source_rate_is_kept(tmp_path, fps):
    film = write_film(tmp_path / "film.mp4", size=(128, 128), fps=fps)
    clip = clip_with_face(tmp_path, film, (40, 40, 50, 50))
    with av.open(str(frame(clip, size=64).files["video.mp4"])) as container:
        assert container.streams.video[0].average_rate == fps
