"""Training reads a release: exact frames at random."""

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from catalog.release import Release
from infra.errors import LakeError, UsageError
from stages.encode import GreyWriter, VideoWriter
from stages.frames import SourceFrames
from tests.media import picture_at, write_film
from tests.releases import make_release, sample
from training.data import ReleaseClips
from training.films import NormalFilm

SIZE = (64, 48)
LENGTHS = {1: 70, 2: 40, 3: 20}


def members(folder: Path, number: int, frames: int) -> dict[str, bytes]:
    """A sample's files; every stream shows something else, and the frame's number in it."""
    folder.mkdir()
    for shift, name in enumerate(("video", "kpmap", "mesh")):
        with VideoWriter(folder / f"{name}.mp4", size=SIZE, fps=Fraction(25)) as film:
            for t in range(frames):
                film.write(picture_at(100 * number + 31 * shift + t, *SIZE))
    with GreyWriter(folder / "mask.mp4", size=SIZE, fps=Fraction(25)) as film:
        for t in range(frames):
            film.write(np.full(SIZE[::-1], t, np.uint8))
    params = {
        "light": np.arange(frames * 27.0).reshape(frames, 9, 3),
        "head": np.zeros((478, 3)),
        "size": np.int32(64),
    }
    np.savez(folder / "params.npz", **params)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Release:
    folder = tmp_path_factory.mktemp("training")
    return make_release(
        folder / "lake",
        [
            replace(sample(number, **members(folder / str(number), number, frames)), frames=frames)
            for number, frames in LENGTHS.items()
        ],
    )


@pytest.fixture(scope="module")
def clips(release) -> ReleaseClips:
    return ReleaseClips(release)


def test_frames_equal_those_of_a_sequential_decode(clips, release, tmp_path):
    rng = np.random.default_rng(0)
    for clip, length in enumerate(clips.lengths):
        indices = rng.permutation(length)[:17]
        found = clips.read(clip, indices.tolist())
        for name in ("video", "kpmap", "mesh", "mask"):
            path = tmp_path / f"{clip}-{name}.mp4"
            path.write_bytes(release.read(clips.keys[clip], f"{name}.mp4"))
            every = np.stack(list(SourceFrames(path, budget=0)))
            expected = every[indices] if name != "mask" else every[indices][..., 0]
            np.testing.assert_array_equal(getattr(found, name), expected)


def test_all_streams_give_the_same_frames(clips):
    indices = [33, 0, 17, 17, 39]
    found = clips.read(clips.lengths.index(40), indices)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.mask[:, 0, 0], indices)
    np.testing.assert_array_equal(found.params["light"][:, 0, 0] / 27, indices)
    np.testing.assert_array_equal(found.video[2], found.video[3])
    assert "head" not in found.params  # one for the whole clip
    assert "size" not in found.params


def test_a_sample_prints_its_shapes(clips):
    shown = repr(clips.read(0, [0, 1]))
    assert "video=(2, 48, 64, 3)" in shown
    assert "mask=(2, 48, 64)" in shown
    assert "params['light']=(2, 9, 3)" in shown


def test_frames_and_splits_that_are_not_there_are_refused(clips, release):
    for indices in ([clips.lengths[0]], [-1]):
        with pytest.raises(IndexError, match=f"which has {clips.lengths[0]}"):
            clips.read(0, indices)
    with pytest.raises(UsageError, match="no clips in split 'test'; it has: train"):
        ReleaseClips(release, "test")


def test_damaged_bytes_are_noticed(clips, release, tmp_path):
    copy = Release(tmp_path / "copy")
    (copy.path / "shards").mkdir(parents=True)
    for path in release.path.rglob("*.*"):
        (copy.path / path.relative_to(release.path)).write_bytes(path.read_bytes())
    row = release.index.to_pylist()[0]
    shard = copy.shard(row["shard"])
    data = bytearray(shard.read_bytes())
    data[row["mask_mp4_offset"] + row["mask_mp4_size"] // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(LakeError, match=r"mask\.mp4 .* is damaged"):
        ReleaseClips(copy).read(0, [0])


def test_a_film_with_b_frames_is_refused(tmp_path):
    path = write_film(tmp_path / "b.mp4", options={"x264-params": "bframes=3:b-adapt=0"})
    with NormalFilm(path.read_bytes()) as film, pytest.raises(LakeError, match="B-frames"):
        film.read([5])


def test_what_is_no_film_is_refused():
    with pytest.raises(LakeError, match="cannot be read"):
        NormalFilm(b"no film at all")
    sound = io.BytesIO()
    with av.open(sound, "w", format="mp4") as output:
        output.add_stream("aac", rate=8000)
        output.start_encoding()
    with pytest.raises(LakeError, match="cannot be read"):
        NormalFilm(sound.getvalue())
