from pathlib import Path

import pytest
from pydantic import ValidationError

from catalog.lake import Lake
from catalog.members import Member
from catalog.outcomes import Outcome
from infra.errors import LakeError, UsageError
from infra.weights import registry
from stages.pack import PackConfig, pack

CONFIG = PackConfig()
FRAME = {"frames": 90, "fps": "30000/1001", "size": 512}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake", create=True)


def finished(lake: Lake, clip: str, split: str = "train") -> tuple[Member, dict[str, Outcome]]:
    made = {
        "quality": ({}, ()),
        "landmarks": ({"coverage": 1.0}, ("landmarks.npz",)),
        "frame": (FRAME, ("video.mp4",)),
        "matting": ({}, ("mask.mp4",)),
    }
    outcomes = {}
    for stage, (facts, names) in made.items():
        artifacts = []
        for name in names:
            temporary = lake.root / "tmp" / "file"
            temporary.write_bytes(f"{name} of {clip}".encode())
            artifacts.append(lake.artifacts.commit(stage, name, temporary))
        outcomes[stage] = Outcome(
            clip, stage, "f", "done", facts=facts, artifacts=artifacts, score=0.5
        )
    return Member(clip, f"{clip}.mp4", clip, split), outcomes


def packed(lake: Lake, kept: list, config: PackConfig = CONFIG):
    prints = {"quality": "q", "frame": "f"}
    return pack(lake, "demo", kept, fingerprints=prints, weights=[], config=config)


def test_every_artifact_but_those_left_out_becomes_a_member(lake: Lake):
    release = packed(lake, [finished(lake, "a"), finished(lake, "b", "val")])
    assert release.members == ["json", "mask.mp4", "video.mp4"]
    assert release.read("a", "mask.mp4") == b"mask.mp4 of a"
    (row,) = [row for row in release.index.to_pylist() if row["key"] == "b"]
    assert (row["split"], row["frames"], row["fps"]) == ("val", 90, "30000/1001")
    assert (row["width"], row["height"], row["score"]) == (512, 512, 0.5)
    assert row["duration"] == pytest.approx(3.003)
    assert release.verify() == []


def test_leave_out_is_configured_and_enters_the_digest(lake: Lake):
    kept = [finished(lake, "a")]
    more = packed(lake, kept, PackConfig(leave_out=()))
    assert "landmarks.npz" in more.members
    assert more.digest != packed(lake, kept).digest


def test_weights_are_named_with_their_licences(lake: Lake):
    name = next(iter(registry()))
    kept = [finished(lake, "a")]
    release = pack(lake, "demo", kept, fingerprints={}, weights=[name], config=CONFIG)
    assert release.record["weights"][name]["sha256"] == registry()[name].sha256
    assert registry()[name].licence in (release.path / "README.md").read_text()


def test_nothing_kept_is_a_usage_error(lake: Lake):
    with pytest.raises(UsageError, match="nothing to release"):
        packed(lake, [])


def test_a_lost_artifact_ends_the_packing(lake: Lake):
    kept = [finished(lake, "a")]
    lake.artifacts.path("frame", kept[0][1]["frame"].artifacts[0]).unlink()
    with pytest.raises(LakeError, match=r"video\.mp4 of stage frame is missing"):
        packed(lake, kept)
    assert not (lake.releases / "demo").exists()


def test_shares_that_leave_no_room_for_train_are_refused():
    with pytest.raises(ValidationError, match=r"val \+ test is 1\.2"):
        PackConfig(val=0.6, test=0.6)
