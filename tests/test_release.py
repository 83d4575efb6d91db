import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import webdataset

from catalog.lake import Lake
from catalog.publish import Sample
from catalog.release import Release
from infra.errors import LakeError, UsageError
from tests.releases import MEMBERS, PEDIGREE, make_release, sample

SPLITS = ("train", "train", "train", "val", "test")


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [sample(i, split=SPLITS[i % 5]) for i in range(25)]


@pytest.fixture
def release(tmp_path: Path, samples: list[Sample]) -> Release:
    return make_release(tmp_path / "lake", samples)


def files(release: Release) -> dict[str, bytes]:
    paths = (path for path in release.path.rglob("*") if path.is_file())
    return {str(path.relative_to(release.path)): path.read_bytes() for path in paths}


def test_the_order_of_the_samples_changes_not_a_byte(tmp_path: Path, release: Release, samples):
    shuffled = random.Random(0).sample(samples, len(samples))
    shuffled = [replace(s, members=list(reversed(s.members))) for s in shuffled]
    other = make_release(tmp_path / "other", shuffled)
    assert other.digest == release.digest
    assert files(other) == files(release)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, split="val"),
        lambda s: replace(s, key="0" * 32),
        lambda s: replace(s, members=s.members[1:]),
        lambda s: replace(s, members=[*s.members[1:], replace(s.members[0], name="other.mp4")]),
    ],
)
def test_what_a_sample_is_enters_the_digest(tmp_path: Path, release: Release, samples, change):
    other = make_release(tmp_path / "other", [change(samples[0]), *samples[1:]])
    assert other.digest != release.digest


def test_fingerprints_and_config_enter_the_digest_and_labels_do_not(tmp_path: Path, samples):
    few = samples[:3]
    base = make_release(tmp_path / "a", few)
    prints = replace(PEDIGREE, fingerprints={"probe": "p2"})
    config = replace(PEDIGREE, config={"seed": 1})
    assert make_release(tmp_path / "b", few, pedigree=prints).digest != base.digest
    assert make_release(tmp_path / "c", few, pedigree=config).digest != base.digest
    renamed = [replace(s, label="elsewhere/" + s.label) for s in few]
    assert make_release(tmp_path / "d", renamed).digest == base.digest


def test_every_member_reads_back(release: Release, samples: list[Sample]):
    for each in samples:
        for member in each.members:
            assert release.read(each.key, member.name) == member.data
        facts = json.loads(release.read(each.key, "json"))
        assert (facts["key"], facts["label"]) == (each.key, each.label)


def test_a_member_that_is_not_there_is_a_usage_error(release: Release, samples: list[Sample]):
    with pytest.raises(UsageError, match="no sample 'x'"):
        release.read("x", "video.mp4")
    with pytest.raises(UsageError, match=r"with a member 'audio\.m4a'"):
        release.read(samples[0].key, "audio.m4a")


def test_a_member_that_only_some_samples_have_is_null_in_the_others(tmp_path: Path):
    both = [sample(1), sample(2, **{"video.mp4": b"v", "audio.m4a": b"a"})]
    release = make_release(tmp_path / "lake", both)
    sizes = dict(
        zip(
            release.index["key"].to_pylist(),
            release.index["audio_m4a_size"].to_pylist(),
            strict=True,
        )
    )
    assert sizes == {both[0].key: None, both[1].key: 1}
    assert release.read(both[1].key, "audio.m4a") == b"a"
    with pytest.raises(UsageError, match="has no member"):
        release.read(both[0].key, "audio.m4a")
    assert release.verify() == []


def test_the_index_is_sorted_and_read_by_duckdb_and_pyarrow(release: Release):
    path = release.path / "index.parquet"
    rows = duckdb.sql(f"select split, key from '{path}'").fetchall()
    assert rows == sorted(rows)
    assert len(rows) == 25
    assert pq.read_table(path, columns=["frames"])["frames"].to_pylist()


def test_webdataset_iterates_the_shards(release: Release, samples: list[Sample]):
    shards = sorted(str(path) for path in release.path.glob("shards/*.tar"))
    assert len(shards) > 3
    found = {s["__key__"]: s for s in webdataset.WebDataset(shards, shardshuffle=False)}
    assert set(found) == {each.key for each in samples}
    for each in samples:
        for member in each.members:
            assert found[each.key][member.name] == member.data


def test_a_shard_never_mixes_splits(release: Release):
    for split, shard in zip(release.index["split"], release.index["shard"], strict=True):
        assert shard.as_py().startswith(f"{split.as_py()}-")


def test_counts_cover_every_split_even_an_empty_one(tmp_path: Path):
    release = make_release(tmp_path / "lake", [sample(1), sample(2, split="val")])
    counts = release.record["counts"]
    assert (counts["samples"], counts["frames"]) == (2, 203)
    assert counts["seconds"] == pytest.approx(203 * 1001 / 30000, abs=1e-3)
    assert [counts["splits"][s]["samples"] for s in ("train", "val", "test")] == [1, 1, 0]
    card = (release.path / "README.md").read_text()
    assert "The split test is empty" in card
    assert "shards/train-{00000..00000}.tar" in card


def test_statistics_have_a_histogram_of_all_samples(release: Release):
    frames = release.record["statistics"]["frames"]
    assert (frames["min"], frames["median"], frames["max"]) == (100, 112, 124)
    assert sum(frames["histogram"]["counts"]) == 25


def test_a_whole_release_verifies_and_tells_its_progress(release: Release):
    told: list[tuple[int, int]] = []
    assert release.verify(lambda done, total: told.append((done, total))) == []
    assert told[-1][0] == told[-1][1] == sum(s["size"] for s in release.record["shards"])


def test_verify_finds_any_flipped_bit(release: Release):
    dice = random.Random(1)
    for name, data in files(release).items():
        path = release.path / name
        for at in {0, len(data) - 1, *(dice.randrange(len(data)) for _ in range(4))}:
            path.write_bytes(
                data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
            )
            assert Release(release.path).verify(), f"byte {at} of {name}"
        path.write_bytes(data)
    assert Release(release.path).verify() == []


def test_verify_names_the_member_that_is_damaged(release: Release, samples: list[Sample]):
    shard = release.shard(release.index["shard"][0].as_py())
    data = bytearray(shard.read_bytes())
    data[release.index["video_mp4_offset"][0].as_py()] ^= 1
    shard.write_bytes(data)
    key = release.index["key"][0].as_py()
    assert f"{key}.video.mp4 in {shard.name} is damaged" in release.verify()
    with pytest.raises(LakeError, match="is damaged"):
        release.read(key, "video.mp4")


@pytest.mark.parametrize(
    "name", ["shards/train-00000.tar", "index.parquet", "README.md", "release.json"]
)
def test_verify_finds_a_missing_file(release: Release, name: str):
    (release.path / name).unlink()
    problems = Release(release.path).verify()
    assert problems
    assert name in problems[0]


def test_verify_finds_an_extra_file(release: Release):
    (release.path / "shards" / "extra.tar").touch()
    assert release.verify() == ["shards/extra.tar does not belong to the release"]


def test_verify_finds_a_short_file(release: Release):
    shard = release.shard("train-00000.tar")
    shard.write_bytes(shard.read_bytes()[:-512])
    assert "has" in release.verify()[0]


def test_publishing_the_same_again_writes_nothing(release: Release, samples: list[Sample]):
    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in release.path.parent.rglob("*")}

    before = stamps()
    again = make_release(release.path.parents[2], samples)
    assert again.digest == release.digest
    assert stamps() == before


def test_publishing_over_a_damaged_version_is_refused(release: Release, samples: list[Sample]):
    release.shard("train-00000.tar").unlink()
    with pytest.raises(LakeError, match=r"train-00000.tar is missing"):
        make_release(release.path.parents[2], samples)


def test_opening_finds_the_latest_version_and_older_ones(release: Release, samples):
    lake = Lake(release.path.parents[2])
    newer = make_release(lake.root, samples[:5])
    assert Release.open(lake, "demo").version == newer.version
    assert Release.open(lake, "demo", release.version).digest == release.digest
    assert Release.versions(lake, "demo") == [release.version, newer.version]
    make_release(lake.root, samples)
    assert Release.open(lake, "demo").version == release.version


def test_opening_what_is_not_there_names_what_is(release: Release):
    lake = Lake(release.path.parents[2])
    with pytest.raises(UsageError, match=f"no version 'abc' of 'demo'.*{release.version}"):
        Release.open(lake, "demo", "abc")
    with pytest.raises(UsageError, match="no release 'other'"):
        Release.open(lake, "other")


def test_a_release_works_where_it_was_copied(release: Release, samples, tmp_path: Path):
    shutil.copytree(release.path, tmp_path / "copy")
    copy = Release(tmp_path / "copy")
    assert copy.verify() == []
    assert copy.read(samples[0].key, "mask.mp4") == samples[0].members[1].data


PUBLISH = """
import sys
from pathlib import Path
from tests.releases import make_release, sample
make_release(Path(sys.argv[1]), [sample(i) for i in range(3)])
"""


def publish_in_a_process(lake: Path, **environment: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", PUBLISH, str(lake)],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[1],
        timeout=60,
        capture_output=True,
    ).returncode


def test_killed_at_any_write_a_release_is_whole_or_absent_and_comes_out_the_same(tmp_path: Path):
    trace = tmp_path / "trace"
    Lake.open(tmp_path / "lake", create=True)
    assert publish_in_a_process(tmp_path / "lake", LIMELIGHT_FAULT=f"trace@{trace}") == 0
    wanted = Release.open(Lake(tmp_path / "lake"), "demo").digest
    points = list(dict.fromkeys(trace.read_text().splitlines()))
    assert len(points) >= 16
    for point in points[::3]:  # every point is struck by the kill test of whole builds
        lake = Lake.open(tmp_path / point, create=True)
        assert publish_in_a_process(lake.root, LIMELIGHT_FAULT=f"kill@{point}") == -9
        for path in lake.releases.glob("*/*/release.json"):
            assert Release(path.parent).verify() == []
        again = make_release(lake.root, [sample(i) for i in range(3)])
        assert (again.digest, again.verify()) == (wanted, [])


def test_a_full_disk_leaves_no_version_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LIMELIGHT_FAULT", "enospc@shard.fsync.before")
    with pytest.raises(LakeError, match="is full"):
        make_release(tmp_path, [sample(1)])
    assert list((tmp_path / "releases").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_members_are_named(release: Release):
    assert release.members == sorted([*MEMBERS, "json"])
