"""What the probe finds out about a clip, and what it turns down."""

from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from infra.errors import SourceError
from stages.base import Product, Rejected
from stages.clip import Clip
from stages.probe import Probe, ProbeConfig
from tests.media import FRAMES, picture_at, write_film


def probe(path: Path, **config: object) -> Product:
    clip = Clip("c", path, path.parent)
    product = Probe(ProbeConfig(**config)).process(clip)
    assert len(clip.source) == product.facts["frames"]
    return product


def test_a_good_film_is_described(tmp_path):
    facts = probe(
        write_film(
            tmp_path / "film.mp4",
            size=(128, 96),
            fps=Fraction(30_000, 1001),
            pix_fmt="yuv420p10le",
            turn=(90, False),
        )
    ).facts
    assert facts == {
        "container": "mov,mp4,m4a,3gp,3g2,mj2",
        "codec": "h264",
        "pix_fmt": "yuv420p10le",
        "bit_depth": 10,
        "width": 96,
        "height": 128,
        "coded": [128, 96],
        "sample_aspect": "1/1",
        "rotation": 270,
        "mirrored": False,
        "fps": "30000/1001",
        "frames": FRAMES,
        "duration": pytest.approx(FRAMES * 1001 / 30_000, abs=1e-6),
        "decoded": FRAMES,
        "repeated": 0,
        "dropped": 0,
        "vfr": False,
        "corrupt": 0,
        "interlaced": False,
        "image_repeat": 0,
        "audio": None,
        "notes": [],
    }


def test_a_real_clip_with_sound_is_described(shared):
    facts = probe(shared / "media" / "lp_d18.mp4").facts
    assert (facts["width"], facts["height"], facts["frames"]) == (480, 480, 216)
    assert facts["audio"] == {"codec": "aac", "rate": 44100, "channels": 2}


def test_a_picture_is_never_too_short(tmp_path):
    Image.fromarray(picture_at(0)).save(tmp_path / "still.png")
    facts = probe(tmp_path / "still.png", min_frames=100, image_repeat=3).facts
    assert (facts["frames"], facts["fps"], facts["image_repeat"]) == (3, "25/1", 3)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"min_frames": 25}, "24 frames; 25 to"),
        ({"max_frames": 20}, "promises 24 frames; up to 20"),
        ({"min_side": 97}, "96x96 is too small: the shorter side must have 97"),
        ({"max_side": 95}, "96x96 is too large: the longer side may have 95"),
        ({"min_fps": 30}, "25 frames a second; 30 to"),
        ({"max_fps": 24}, "25 frames a second; 5 to 24"),
    ],
)
def test_a_film_beyond_the_limits_is_rejected_in_words(tmp_path, config, words):
    film = write_film(tmp_path / "film.mp4")
    assert probe(film).facts["frames"] == FRAMES
    with pytest.raises(Rejected, match=words):
        probe(film, **config)


def test_one_frame_is_no_film(tmp_path):
    with pytest.raises(Rejected, match="it has 1 frame; 16 to") as decision:
        probe(write_film(tmp_path / "film.mp4", frames=1))
    assert decision.value.facts["frames"] == 1


def test_limits_are_checked_before_a_frame_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.decode.Film.frames", None)
    with pytest.raises(Rejected, match="too large"):
        probe(write_film(tmp_path / "film.mp4"), max_side=95)


def test_corrupt_frames_are_counted_in_the_reason_and_in_the_facts(tmp_path):
    film = write_film(
        tmp_path / "film.mp4",
        muxer={"movflags": "+faststart"},
        options={"x264-params": "bframes=0"},
    )
    content = film.read_bytes()
    film.write_bytes(content[: len(content) - 5])
    with pytest.raises(Rejected, match=r"1 of 24 frames are corrupt") as decision:
        probe(film)
    assert decision.value.facts["corrupt"] == 1
    assert probe(film, max_corrupt=1).facts["corrupt"] == 1


def test_the_header_may_promise_too_much(tmp_path):
    film = write_film(tmp_path / "film.mkv")
    content = film.read_bytes()
    film.write_bytes(content[: len(content) * 9 // 10])
    facts = probe(film).facts
    assert 16 <= facts["frames"] < FRAMES
    assert facts["notes"] == [f"the header promises {FRAMES} frames, {facts['decoded']} are there"]


def test_what_is_not_there_is_a_source_error_and_may_be_retried(tmp_path):
    with pytest.raises(SourceError, match=r"nowhere\.mp4' cannot be read: No such file"):
        probe(tmp_path / "nowhere.mp4")


def test_a_config_that_admits_nothing_is_refused():
    with pytest.raises(ValidationError, match="min_side = 100 must not exceed max_side = 50"):
        ProbeConfig(min_side=100, max_side=50)
