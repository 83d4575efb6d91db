"""Clips of ../shared/media become a verified release.

Three of the eight: what the others add is length (benchmarks/build.py builds all of them).
"""

import io
import json

import av
import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from catalog.export import export_talkinghead
from catalog.lake import Lake
from catalog.release import Release
from catalog.verdicts import verdict
from flows.builder import Build, Request
from flows.config import BuildConfig
from infra.engine.open import open_engine

CLIPS = ("hdtf_WDA_DebbieDingell1_000", "lp_d0", "konvid_10053703034")
KEPT = {"hdtf_WDA_DebbieDingell1_000", "lp_d0"}
FRAMES = {"hdtf_WDA_DebbieDingell1_000": 100, "lp_d0": 78}


@pytest.fixture(scope="module")
def built(shared, tmp_path_factory):
    """A finished build."""
    lake = tmp_path_factory.mktemp("media") / "lake"
    clips = lake.with_name("clips")
    clips.mkdir()
    for clip in CLIPS:
        (clips / f"{clip}.mp4").symlink_to(shared / "media" / f"{clip}.mp4")
    request = Request(str(clips), "media", BuildConfig())
    build = Build(Lake.open(lake, create=True), request, lambda: open_engine("inline"), "test")
    build.all()
    return build


@pytest.fixture(scope="module")
def release(built):
    return Release.open(built.lake, "media")


def test_each_clip_becomes_what_the_readme_says(built, release):
    outcomes = built.lake.outcomes.of([member.clip for member in built.members], built.fingerprints)
    ends = {
        member.label: verdict(outcomes[member.clip], list(built.fingerprints))
        for member in built.members
    }
    assert set(ends) == {f"{clip}.mp4" for clip in CLIPS}
    status, _, reason = ends.pop("konvid_10053703034.mp4")
    assert status == "rejected"
    assert "no face" in reason
    assert {end.status for end in ends.values()} == {"done"}
    assert set(release.index["label"].to_pylist()) == {f"{clip}.mp4" for clip in KEPT}


def test_every_byte_verifies(release):
    assert release.verify() == []


def test_source_rate_and_frames_are_kept(release):
    rows = {
        row["label"].split("/")[-1].removesuffix(".mp4"): row for row in release.index.to_pylist()
    }
    for stem, frames in FRAMES.items():
        assert rows[stem]["frames"] == frames
    assert rows["lp_d0"]["fps"] == "25/1"
    assert rows["hdtf_WDA_DebbieDingell1_000"]["fps"] == "15/1"


def test_webdataset_iterates_the_shards(release):
    import webdataset

    shards = sorted(str(path) for path in release.path.rglob("*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert {sample["__key__"] for sample in samples} == set(release.index["key"].to_pylist())
    for sample in samples:
        assert {"video.mp4", "mask.mp4", "kpmap.mp4", "mesh.mp4", "params.npz", "json"} <= set(
            sample
        )


def test_duckdb_and_pyarrow_read_the_index(release):
    index = release.path / "index.parquet"
    rows = pq.read_table(index).num_rows
    assert duckdb.sql(f"select count(*) from '{index}'").fetchall() == [(rows,)]


def test_each_sample_has_as_many_frames_in_every_stream(release):
    for row in release.index.to_pylist():
        for member in ("video.mp4", "mask.mp4", "kpmap.mp4", "mesh.mp4"):
            with av.open(io.BytesIO(release.read(row["key"], member))) as container:
                assert container.streams.video[0].frames == row["frames"], member
        with np.load(io.BytesIO(release.read(row["key"], "params.npz"))) as params:
            assert len(params["light"]) == row["frames"]


def test_export_gives_lcvds_layout_with_equal_frame_counts(release, tmp_path):
    out = tmp_path / "talkinghead"
    export_talkinghead(release, out)
    (listing,) = out.rglob("*-data-consistent.json")
    entries = json.loads(listing.read_text())
    assert len(entries) == len(KEPT)
    for entry in entries:
        counts = set()
        for key in ("video_path", "kps_path", "light_path", "mask_path"):
            path = listing.parent.parent.parent / entry[key]
            path = path if path.exists() else out / entry[key]
            with av.open(str(path)) as container:
                counts.add(sum(1 for _ in container.decode(video=0)))
        assert len(counts) == 1, entry
        assert "-video/" in entry["video_path"]
