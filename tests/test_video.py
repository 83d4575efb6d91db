"""Frames of sources: upright, square, at a constant rate, and none of them corrupt."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.bitstream import has_hole
from stages.frames import SourceFrames, read_headers
from stages.media import CorruptVideo, UnusableVideo
from tests.media import FRAMES, picture_at, plain, write_film

BUDGET = 1 << 28
CLIPS = ["hdtf_WDA_DebbieDingell1_000.mp4", "lp_d0.mp4", "lp_d18.mp4"]


def close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b).mean()) < tolerance


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", size=(128, 96))


@pytest.mark.parametrize("name", CLIPS)
def test_frames_of_real_clips_are_those_of_a_plain_decode(shared, name):
    path = shared / "media" / name
    source = SourceFrames(path, budget=BUDGET)
    expected = plain(path)
    assert len(source) == len(expected)
    assert all(np.array_equal(a, b) for a, b in zip(source, expected, strict=True))
    assert not source.facts["vfr"]
    assert source.facts["corrupt"] == 0


@pytest.mark.parametrize("budget", [0, 40_000, BUDGET])
def test_frames_are_the_same_within_and_beyond_the_budget(film, budget):
    source = SourceFrames(film, budget=budget)
    expected = plain(film)
    for _ in range(2):
        assert np.array_equal(np.stack(list(source)), np.stack(expected))


def test_some_frames_equal_those_of_a_full_decode(film):
    expected = plain(film)
    for budget in (0, BUDGET):
        source = SourceFrames(film, budget=budget)
        for _ in range(2):
            some = source.at([17, 3, 3, FRAMES - 1])
            assert all(
                np.array_equal(a, expected[i])
                for a, i in zip(some, [17, 3, 3, FRAMES - 1], strict=True)
            )


def test_a_frame_beyond_the_end_is_an_index_error(film):
    with pytest.raises(IndexError, match=rf"film\.mp4 has no frames \[{FRAMES}\]"):
        SourceFrames(film, budget=0).at([0, FRAMES])


def test_facts_of_an_earlier_decode_save_another(film, monkeypatch):
    facts = SourceFrames(film, budget=0).facts
    monkeypatch.setattr("stages.frames.open_film", None)
    source = SourceFrames(film, budget=0, facts=facts)
    assert (len(source), source.size, source.fps) == (FRAMES, (128, 96), 25)


def test_batches_hold_all_frames_in_order(film):
    source = SourceFrames(film, budget=BUDGET)
    batches = list(source.batches(7))
    assert [len(batch) for batch in batches] == [7, 7, 7, 3]
    assert np.array_equal(np.concatenate(batches), np.stack(list(source)))
    with pytest.raises(ValueError, match="at least 1"):
        next(source.batches(0))


@pytest.mark.parametrize("name", ["film.mp4", "film.mov"])
def test_drawing_on_a_frame_leaves_the_kept_one_alone(tmp_path, name):
    kind = {"codec": "qtrle", "pix_fmt": "rgb24"} if name.endswith("mov") else {}
    source = SourceFrames(write_film(tmp_path / name, **kind), budget=BUDGET)
    list(source)
    for frame in source:
        frame[:] = 0
    assert all(frame.any() for frame in source)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_are_turned_upright(tmp_path, degrees, mirrored):
    size = (128, 96)
    path = write_film(tmp_path / "turned.mp4", size=size, turn=(degrees, mirrored))
    source = SourceFrames(path, budget=BUDGET)
    expected = np.rot90(plain(path)[0], degrees // 90)  # both turn counterclockwise
    if mirrored:
        expected = expected[:, ::-1]
    assert np.array_equal(source.at([0])[0], expected)
    assert source.size == expected.shape[1::-1]
    assert source.facts["mirrored"] == mirrored
    if not mirrored:
        assert source.facts["rotation"] == -degrees % 360


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_pictures_are_turned_upright_by_their_exif(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture_at(0, 128, 96)
    Image.fromarray(stored).save(tmp_path / f"turned.{suffix}", exif=exif.tobytes())
    turns = {2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (3, 0), 7: (1, 1), 8: (1, 0)}
    quarters, mirror = turns.get(orientation, (0, 0))
    expected = np.rot90(stored, quarters)
    expected = expected[:, ::-1] if mirror else expected
    frame = next(iter(SourceFrames(tmp_path / f"turned.{suffix}", budget=0)))
    assert close(frame, expected, 12)


@pytest.mark.parametrize(
    ("aspect", "size"), [(Fraction(2), (256, 96)), (Fraction(3, 4), (128, 128)), (None, (128, 96))]
)
def test_pixels_become_square_by_stretching(tmp_path, aspect, size):
    path = write_film(tmp_path / "stretched.mp4", size=(128, 96), aspect=aspect)
    source = SourceFrames(path, budget=0)
    assert source.size == size
    frame = source.at([0])[0]
    assert close(frame, cv2.resize(plain(path)[0], size, interpolation=cv2.INTER_CUBIC), 4)
    assert read_headers(path).width == size[0]


def test_edit_lists_are_respected(tmp_path):
    times = [Fraction(t - 5, 25) for t in range(FRAMES)]
    source = SourceFrames(write_film(tmp_path / "cut.mp4", times=times), budget=0)
    assert len(source) == FRAMES - 5
    assert close(source.at([0])[0], picture_at(5), 8)
    assert source.facts["notes"] == ["its edit list leaves out 5 frames"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_varying_rate_is_sampled_by_its_timestamps(tmp_path, suffix):
    times = [Fraction(t, 25) for t in (0, 1, 2, 6, 7, 8, 9, 10, 11, 12)]
    path = write_film(tmp_path / f"uneven.{suffix}", frames=len(times), times=times)
    source = SourceFrames(path, budget=0)
    expected = plain(path)
    assert source.facts["vfr"]
    for tick, frame in enumerate(source):
        due = (tick + Fraction(1, 2)) / source.fps
        shown = max(i for i, time in enumerate(times) if time <= due)
        assert np.array_equal(frame, expected[shown])


def test_ten_bits_and_alpha_become_rgb(tmp_path):
    kinds = {
        "ten.mp4": {"pix_fmt": "yuv420p10le"},
        "alpha.mov": {"codec": "qtrle", "pix_fmt": "argb"},
        "grey.mkv": {"codec": "ffv1", "pix_fmt": "gray16le"},
    }
    for name, kind in kinds.items():
        source = SourceFrames(write_film(tmp_path / name, **kind), budget=0)
        expected = picture_at(3)
        if name == "grey.mkv":
            expected = np.repeat(cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        assert close(source.at([3])[0], expected, 9), name


def test_interlaced_frames_are_made_progressive(tmp_path):
    """Fields of two times: combs that `bwdif` must take out."""
    path = tmp_path / "fields.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"x264-params": "tff=1", "qp": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for t in range(FRAMES):
            woven = picture_at(4 * t, 128, 96)
            woven[1::2] = picture_at(4 * t + 2, 128, 96)[1::2]
            frame = av.VideoFrame.from_ndarray(woven, format="rgb24")
            frame.pts, frame.time_base = t, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    source = SourceFrames(path, budget=0)

    def combs(frame: np.ndarray) -> float:
        rows = frame[..., 1].astype(float)
        return float(np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean())

    assert len(source) == FRAMES
    assert source.facts["interlaced"]
    assert combs(source.at([10])[0]) < 0.8 * combs(plain(path)[10])


def test_a_picture_is_a_clip_of_equal_frames(tmp_path):
    picture = picture_at(0, 100, 80)
    Image.fromarray(picture).save(tmp_path / "still.png")
    source = SourceFrames(tmp_path / "still.png", budget=0, image_repeat=5)
    assert (len(source), source.fps, source.facts["image_repeat"]) == (5, 25, 5)
    assert all(np.array_equal(frame, picture) for frame in source)


def test_sixteen_bit_greys_are_scaled_not_clipped(tmp_path):
    grey = (picture_at(0)[..., 0].astype(np.uint16) << 8) + 77
    Image.fromarray(grey).save(tmp_path / "deep.png")
    frame = next(iter(SourceFrames(tmp_path / "deep.png", budget=0)))
    assert np.array_equal(frame, np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2))


def wound(path: Path, packet: int) -> Path:
    """A copy of a film with one byte in the middle of a packet changed."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        hit = [p for p in container.demux(video=0) if p.size][packet]
        content[hit.pos + hit.size // 2] ^= 0xFF
    copy = path.with_name("wounded.mp4")
    copy.write_bytes(content)
    return copy


def test_a_corrupt_packet_is_found_counted_and_timed(tmp_path):
    options = {"x264-params": "keyint=8:scenecut=0:bframes=0"}
    film = write_film(tmp_path / "film.mp4", size=(256, 256), options=options)
    with pytest.raises(CorruptVideo, match=r"8 of 24 frames .* first at 0\.32 s") as found:
        list(SourceFrames(wound(film, 8), budget=0))
    assert found.value.facts["first_corrupt"] == pytest.approx(0.32)


def test_corrupt_frames_that_are_put_up_with_show_the_frame_before(tmp_path):
    options = {"x264-params": "keyint=8:scenecut=0:bframes=0"}
    film = write_film(tmp_path / "film.mp4", size=(256, 256), options=options)
    whole = list(SourceFrames(film, budget=0))
    source = SourceFrames(wound(film, 8), budget=0, max_corrupt=8)
    frames = list(source)
    assert source.facts["corrupt"] == 8
    for t in range(FRAMES):
        assert np.array_equal(frames[t], whole[7 if 8 <= t < 16 else t])
    again = SourceFrames(source.path, budget=0, facts=source.facts)
    assert np.array_equal(np.stack(list(again)), np.stack(frames))


def test_a_hole_of_zeros_is_found(tmp_path):
    film = write_film(tmp_path / "film.mp4")
    content = bytearray(film.read_bytes())
    with av.open(str(film)) as container:
        hit = max(container.demux(video=0), key=lambda packet: packet.size)
    content[hit.pos + hit.size // 3 : hit.pos + hit.size // 2] = bytes(
        hit.size // 2 - hit.size // 3
    )
    film.write_bytes(content)
    with pytest.raises(CorruptVideo, match="corrupt"):
        list(SourceFrames(film, budget=0))


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5))
def test_packets_with_escaped_units_have_no_hole(units):
    escaped = [b"\x65" + unit.replace(b"\0\0", b"\0\0\3") + b"\x80" for unit in units]
    packet = b"".join(len(unit).to_bytes(4, "big") + unit for unit in escaped)
    assert not has_hole(packet, 4)
    assert has_hole(packet[:-1], 4)
    assert has_hole(packet + bytes(4), 4)
    assert has_hole((9).to_bytes(4, "big") + b"\x65" + bytes(4) + b"\x01\x02\x03\x04" + packet, 4)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_film_that_breaks_off_says_how_much_is_there(tmp_path, share):
    film = write_film(tmp_path / "film.mp4", muxer={"movflags": "+faststart"})
    content = film.read_bytes()
    film.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CorruptVideo, match=r"breaks off after \d\.\d\d s: \d+ of 24 frames"):
        list(SourceFrames(film, budget=0))


def test_a_playlist_does_not_open_other_files(tmp_path, film):
    for text in (
        f"#EXTM3U\n#EXTINF:9,\n{film}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {film}\n",
    ):
        (tmp_path / "playlist.mp4").write_text(text)
        with pytest.raises(UnusableVideo, match="no video is recognised"):
            len(SourceFrames(tmp_path / "playlist.mp4", budget=0))


def test_high_dynamic_range_is_noted(tmp_path):
    options = {"x264-params": "transfer=smpte2084:colorprim=bt2020:colormatrix=bt2020nc"}
    path = write_film(tmp_path / "hdr.mp4", pix_fmt="yuv420p10le", options=options)
    assert any("high dynamic range" in note for note in SourceFrames(path, budget=0).facts["notes"])
