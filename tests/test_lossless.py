"""Lossless films: every bit comes back, and damage is seen."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.protocols.lossless import DamagedFilm, Film, keep_film, read_film, write_film
from tests.bench_fakes import pictures


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 70),
    frames=st.integers(1, 5),
    seed=st.integers(0, 99),
    fps=st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(1), Fraction(240)]),
)
def test_every_bit_of_every_size_comes_back(
    tmp_path_factory: pytest.TempPathFactory, size: int, frames: int, seed: int, fps: Fraction
) -> None:
    wanted = pictures(seed, frames, size)
    film = keep_film(tmp_path_factory.mktemp("films"), wanted, fps)
    assert (film.frames, film.size, film.fps) == (frames, size, fps)
    assert np.array_equal(np.stack([*film.pictures()]), wanted)


def test_batches_are_of_the_size_asked_for_and_hold_all_frames(tmp_path: Path) -> None:
    wanted = pictures(1, 7)
    batches = [*read_film(keep_film(tmp_path, wanted, Fraction(25)), 3)]
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert all(batch.flags.c_contiguous and batch.dtype == np.uint8 for batch in batches)
    assert np.array_equal(np.concatenate(batches), wanted)


def test_a_batch_of_none_is_refused(tmp_path: Path) -> None:
    film = keep_film(tmp_path, pictures(1), Fraction(25))
    with pytest.raises(ValueError, match="at least 1"):
        next(read_film(film, 0))


def test_a_digest_is_of_the_frames_and_nothing_else(tmp_path: Path) -> None:
    frames = pictures(2)
    film = keep_film(tmp_path / "one", frames, Fraction(25))
    again = keep_film(tmp_path / "two", iter(frames[:, ::-1][:, ::-1]), Fraction(25))
    assert film.digest == again.digest
    assert film.path.read_bytes() == again.path.read_bytes()
    other = frames.copy()
    other[3, 4, 5, 1] ^= 1
    digests = {
        keep_film(tmp_path, each, Fraction(fps)).digest
        for each, fps in ((other, 25), (frames[:-1], 25), (frames[::-1], 25), (frames, 24))
    }
    assert len(digests | {film.digest}) == 5


def test_a_film_is_told_in_json_and_back(tmp_path: Path) -> None:
    film = keep_film(tmp_path, pictures(3), Fraction(30000, 1001))
    assert Film.from_json(film.to_json()) == film


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.full((16, 16, 3), np.nan, np.float32), "frame 1 holds numbers that are not finite"),
        (np.zeros((16, 16, 3), np.float32), "frame 1 is float32, not uint8"),
        (np.zeros((16, 15, 3), np.uint8), r"frame 1 has the shape \(16, 15, 3\)"),
        (np.zeros((8, 8, 3), np.uint8), r"\(16, 16, 3\) is needed"),
        (np.uint8(3), "not an array"),
    ],
)
def test_what_is_no_frame_is_refused_by_its_number(
    tmp_path: Path, frame: np.ndarray, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        keep_film(tmp_path, [pictures(4)[0], frame], Fraction(25))
    assert not [*tmp_path.iterdir()]


def test_a_film_of_no_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frames"):
        write_film(tmp_path / "film.mkv", [], Fraction(25))


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "gone", "other"])
def test_damage_is_seen(tmp_path: Path, damage: str) -> None:
    film = keep_film(tmp_path, pictures(5, 6, 32), Fraction(25))
    data = bytearray(film.path.read_bytes())
    if damage == "bit":
        data[len(data) // 2] ^= 4
    if damage == "other":
        data[:] = keep_film(tmp_path, pictures(6, 6, 32), Fraction(25)).path.read_bytes()
    film.path.write_bytes(data[: {"cut": len(data) // 2, "empty": 0}.get(damage, len(data))])
    if damage == "gone":
        film.path.unlink()
    with pytest.raises(DamagedFilm, match=film.path.name):
        list(film.pictures())
