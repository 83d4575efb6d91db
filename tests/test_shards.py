import hashlib
import tarfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.shards import ShardWriter, Source, read_at
from infra.errors import LakeError


def source(name: str, data: bytes) -> Source:
    return Source(name, data, hashlib.sha256(data).hexdigest(), len(data))


SAMPLES = st.dictionaries(
    st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    st.dictionaries(
        st.sampled_from(["video.mp4", "json", "a.npz"]), st.binary(max_size=2000), min_size=1
    ),
    max_size=8,
)


@settings(max_examples=25)
@given(SAMPLES, st.integers(1, 8000))
def test_tarfile_finds_every_member_where_the_index_says(samples, target):
    with TemporaryDirectory() as name:
        folder = Path(name)
        writer = ShardWriter(folder, "train", target)
        placed = {}
        for key, members in samples.items():
            for place in writer.add(key, [source(n, data) for n, data in members.items()]):
                placed[place.shard, f"{key}.{place.name}"] = place
        writer.close()
        found = {}
        for shard in writer.shards:
            data = (folder / shard.name).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.size, shard.sha256)
            assert len(data) <= target or shard.samples == 1
            with tarfile.open(folder / shard.name) as tar:
                for info in tar:
                    assert (info.mtime, info.uid, info.gid, info.uname) == (0, 0, 0, "")
                    found[shard.name, info.name] = (info.offset_data, info.size)
        assert found == {where: (p.offset, p.size) for where, p in placed.items()}
        for (shard_name, member), place in placed.items():
            key, _, kind = member.partition(".")
            data = read_at(folder / shard_name, place.offset, place.size)
            assert data == samples[key][kind]
            assert zlib.crc32(data) == place.crc32
        assert sum(shard.samples for shard in writer.shards) == len(samples)


def test_shards_are_numbered_and_roll_over_at_the_target(tmp_path: Path):
    writer = ShardWriter(tmp_path, "val", 4096)
    for key in "abc":
        writer.add(key, [source("bin", bytes(1024))])
    writer.close()
    assert [(s.name, s.samples) for s in writer.shards] == [
        ("val-00000.tar", 2),
        ("val-00001.tar", 1),
    ]


def test_nothing_written_leaves_no_shard(tmp_path: Path):
    ShardWriter(tmp_path, "test", 4096).close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_read_in_and_checked_against_its_digest(tmp_path: Path):
    (tmp_path / "video").write_bytes(b"frames")
    writer = ShardWriter(tmp_path, "train", 4096)
    good = Source("video.mp4", tmp_path / "video", hashlib.sha256(b"frames").hexdigest(), 6)
    (place,) = writer.add("a", [good])
    with pytest.raises(LakeError, match="not the file that its outcome names"):
        writer.add("b", [Source("video.mp4", tmp_path / "video", "0" * 64, 6)])
    writer.abandon()
    assert place.offset == 512
