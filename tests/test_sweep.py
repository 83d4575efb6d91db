import os
import time
from pathlib import Path

import pytest

from catalog.artifacts import Artifact
from catalog.lake import Lake
from catalog.outcomes import Outcome
from catalog.sweep import sweep
from infra.errors import LakeError
from infra.processes import Lease, Process, boot_id, lease_folder
from tests.releases import make_release, sample

DAY = 86400


def grow_old(path: Path) -> None:
    for each in [path, *path.rglob("*")]:
        os.utime(each, (time.time() - DAY,) * 2, follow_symlinks=False)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake", create=True)


def artifact(lake: Lake, data: bytes, stage: str = "frame") -> tuple[Path, Artifact]:
    temporary = lake.root / "tmp" / "temporary"
    temporary.write_bytes(data)
    made = lake.artifacts.commit(stage, "video.mp4", temporary)
    return lake.artifacts.path(stage, made), made


def named(lake: Lake, data: bytes, fingerprint: str = "f") -> Path:
    path, made = artifact(lake, data)
    lake.outcomes.append([Outcome("a", "frame", fingerprint, "done", artifacts=(made,))])
    return path


def test_only_what_no_outcome_names_goes(lake: Lake):
    kept = [named(lake, b"one"), named(lake, b"two", "old fingerprint")]
    gone, _ = artifact(lake, b"three")
    other_stage, _ = artifact(lake, b"one", stage="matting")
    grow_old(lake.artifacts.root)
    swept = sweep(lake)
    assert {(s.kind, s.path, s.size) for s in swept} == {
        ("artifact", gone, 5),
        ("artifact", other_stage, 3),
    }
    assert all(path.is_file() for path in kept)
    assert not gone.exists()
    assert sweep(lake) == []


def test_an_artifact_of_a_voided_outcome_goes(lake: Lake):
    path = named(lake, b"one")
    lake.outcomes.void([Outcome("a", "frame", "f", "done")])
    grow_old(lake.artifacts.root)
    assert [s.path for s in sweep(lake)] == [path]


def test_what_is_young_stays(lake: Lake):
    path, _ = artifact(lake, b"one")
    lake.scratch("run").mkdir()
    (lake.releases / "demo" / "half").mkdir(parents=True)
    assert sweep(lake) == []
    assert path.is_file()


def test_an_artifact_made_again_counts_as_young(lake: Lake):
    path, _ = artifact(lake, b"one")
    grow_old(lake.artifacts.root)
    artifact(lake, b"one")
    assert sweep(lake) == []
    assert path.read_bytes() == b"one"


def test_what_a_build_at_work_has_made_stays_whatever_the_grace(lake: Lake):
    before, _ = artifact(lake, b"before it began")
    grow_old(lake.artifacts.root)
    leases = lease_folder(lake.root)
    ourselves = Process.find(os.getpid())
    Lease(ourselves, ourselves, boot_id()).write(leases)
    started = time.time() - DAY / 2
    for lease in leases.glob("*.json"):
        os.utime(lease, (started, started))
    during, _ = artifact(lake, b"of its first stage, named by no row yet")
    os.utime(during, (started + 60, started + 60))
    assert [each.path for each in sweep(lake, grace=0)] == [before]
    assert during.is_file()
    assert len(list(leases.glob("*.json"))) == 1


def test_scratch_of_dead_runs_goes_and_of_living_ones_stays(lake: Lake):
    for run in ("dead", "alive"):
        (lake.scratch(run) / "clip").mkdir(parents=True)
        (lake.scratch(run) / "clip" / "file").write_bytes(b"12345")
        grow_old(lake.scratch(run))
    (lake.scratch("alive") / "clip" / "file").write_bytes(b"x")
    (lake.releases / ".current.json.abc.tmp").write_bytes(b"12")
    (lake.root / ".lake.json.abc.tmp").write_bytes(b"12")
    grow_old(lake.root / ".lake.json.abc.tmp")
    swept = {(s.kind, s.path, s.size) for s in sweep(lake)}
    assert swept == {
        ("scratch", lake.scratch("dead"), 5),
        ("scratch", lake.root / ".lake.json.abc.tmp", 2),
    }
    assert not lake.scratch("dead").exists()
    assert lake.scratch("alive").exists()


def test_an_unfinished_release_goes_and_a_finished_one_stays(lake: Lake):
    release = make_release(lake.root, [sample(1)])
    half = lake.releases / "demo" / "half"
    (half / "shards").mkdir(parents=True)
    grow_old(lake.releases)
    assert [(s.kind, s.path) for s in sweep(lake)] == [("release", half)]
    assert release.verify() == []


def test_files_that_a_compaction_replaced_go(lake: Lake):
    for clip in "abc":
        lake.outcomes.append([Outcome(clip, "frame", "f", "done")])
    lake.outcomes.compact(files=1)
    grow_old(lake.root / "outcomes" / "stage=frame")
    replaced = [s for s in sweep(lake) if s.kind == "table"]
    # delta-rs goes by the time of the commit that replaced them, so none is old enough yet;
    # a file that no commit ever named goes by its own.
    assert replaced == []
    orphan = lake.root / "outcomes" / "stage=frame" / "part-killed.parquet"
    orphan.write_bytes(b"half a file")
    os.utime(orphan, (time.time() - DAY,) * 2)
    assert [(s.kind, s.path, s.size) for s in sweep(lake)] == [("table", orphan, 11)]
    assert not orphan.exists()
    assert lake.outcomes.latest({"frame": "f"}).num_rows == 3


def test_a_dry_run_removes_nothing(lake: Lake):
    path, _ = artifact(lake, b"one")
    lake.scratch("dead").mkdir()
    grow_old(lake.root)
    would = sweep(lake, dry_run=True)
    assert {s.path for s in would} == {path, lake.scratch("dead")}
    assert path.is_file()
    assert sweep(lake) == would


def test_no_lake_is_never_swept(tmp_path: Path):
    (tmp_path / "artifacts" / "frame").mkdir(parents=True)
    (tmp_path / "artifacts" / "frame" / "mine.mp4").touch()
    grow_old(tmp_path)
    with pytest.raises(LakeError, match="no table"):
        sweep(Lake(tmp_path))
    assert (tmp_path / "artifacts" / "frame" / "mine.mp4").exists()
