"""Sound kept beside a clip."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from stages.sound import save_sound
from tests.media import FRAMES, write_film, write_sound


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", size=(128, 96))


def add_sound(film: Path, sound: Path, path: Path) -> Path:
    """Mux a film and a sound into one file."""
    with av.open(str(path), "w") as output, av.open(str(film)) as a, av.open(str(sound)) as b:
        streams = [
            (source, output.add_stream_from_template(source.streams[0])) for source in (a, b)
        ]
        for source, stream in streams:
            for packet in source.demux(source.streams[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
    return path


@pytest.mark.parametrize(("codec", "how"), [("aac", "copied"), ("libmp3lame", "encoded")])
def test_sound_is_kept_as_long_as_the_clip(tmp_path, film, codec, how):
    sound = write_sound(tmp_path / f"{codec}.mkv", codec, seconds=3.0)
    source = add_sound(film, sound, tmp_path / "both.mkv")
    duration = Fraction(FRAMES, 25)
    assert save_sound(source, tmp_path / "audio.m4a", duration=duration) == how
    with av.open(str(tmp_path / "audio.m4a")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        samples = sum(frame.samples for frame in container.decode(audio=0))
        rate = container.streams.audio[0].rate
    assert samples / rate == pytest.approx(float(duration), abs=0.06)


def test_a_film_without_sound_leaves_no_sound_file(tmp_path, film):
    assert save_sound(film, tmp_path / "audio.m4a", duration=Fraction(1)) is None
    assert not (tmp_path / "audio.m4a").exists()
