import json
from pathlib import Path

import pytest

from catalog.export import export_talkinghead, export_webdataset
from catalog.release import Release
from infra.errors import UsageError
from tests.releases import make_release, sample


@pytest.fixture
def release(tmp_path: Path) -> Release:
    samples = [
        sample(1, label="sub/zoë's clip.mp4"),
        sample(2, label="same.mp4"),
        sample(3, label="other/SAME.mov", split="val"),
        sample(4, label="n" * 300 + ".mp4", split="test"),
    ]
    return make_release(tmp_path / "lake", samples)


def test_the_layout_is_that_of_lcvd_and_video_path_leads_to_the_video(
    release: Release, tmp_path: Path
):
    manifest = export_talkinghead(release, tmp_path / "out" / "deep", dataset="VFHQ")
    root = tmp_path / "out" / "deep" / "VFHQ"
    assert manifest == root / "VFHQ-data-consistent.json"
    assert [path.name for path in manifest.parents[1].iterdir()] == ["VFHQ"]
    text = manifest.read_text("utf-8")
    entries = json.loads(text)
    assert text == json.dumps(entries, indent=4, ensure_ascii=False)
    assert len(entries) == 4
    for entry in entries:
        assert list(entry) == ["video_path", "kps_path", "light_path", "mask_path"]
        folders = [Path(path).parent.name for path in entry.values()]
        assert folders == ["VFHQ-video", "VFHQ-kpmap", "VFHQ-mesh", "VFHQ-mask"]
        assert len({Path(path).name for path in entry.values()}) == 1


def test_every_file_holds_the_bytes_of_its_member(release: Release, tmp_path: Path):
    entries = json.loads(export_talkinghead(release, tmp_path, dataset="DS").read_text())
    by_stem = {Path(entry["video_path"]).stem: entry for entry in entries}
    key = sample(1).key
    entry = by_stem["zoë's clip"]
    for word, member in (("video_path", "video"), ("kps_path", "kpmap"), ("mask_path", "mask")):
        assert Path(entry[word]).read_bytes() == release.read(key, f"{member}.mp4")


def test_equal_names_are_told_apart_by_their_keys(release: Release, tmp_path: Path):
    export_talkinghead(release, tmp_path, dataset="DS")
    names = {path.stem for path in (tmp_path / "DS" / "DS-video").iterdir()}
    assert f"same-{sample(2).key[:12]}" in names
    assert f"SAME-{sample(3).key[:12]}" in names
    assert len(names) == 4


def test_one_split_can_be_exported_alone(release: Release, tmp_path: Path):
    manifest = export_talkinghead(release, tmp_path, splits=["train"])
    assert len(json.loads(manifest.read_text())) == 2
    assert manifest.parent.name == "demo"


def test_what_is_there_is_not_overwritten(release: Release, tmp_path: Path):
    export_talkinghead(release, tmp_path)
    with pytest.raises(UsageError, match="is there already"):
        export_talkinghead(release, tmp_path)
    with pytest.raises(UsageError, match="is there already"):
        export_webdataset(release, tmp_path)


def test_a_release_without_a_mesh_cannot_have_lcvds_layout(tmp_path: Path):
    release = make_release(tmp_path / "lake", [sample(1, **{"video.mp4": b"v"})])
    with pytest.raises(UsageError, match=r"has no kpmap\.mp4, mesh\.mp4, mask\.mp4"):
        export_talkinghead(release, tmp_path / "out")


def test_a_damaged_release_leaves_no_half_export(release: Release, tmp_path: Path):
    for shard in release.path.glob("shards/*"):
        shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(Exception, match="is damaged"):
        export_talkinghead(release, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_webdataset_export_is_a_release_by_itself(release: Release, tmp_path: Path):
    folder = export_webdataset(release, tmp_path / "out")
    copy = Release(folder)
    assert (copy.digest, copy.verify()) == (release.digest, [])
    assert folder == tmp_path / "out" / "demo"
