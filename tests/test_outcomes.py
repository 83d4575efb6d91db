import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from catalog.artifacts import Artifact
from catalog.lake import Lake
from catalog.outcomes import Count, Outcome
from infra.errors import LakeError

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
PRINTS = {"probe": "p1", "quality": "q1"}


def outcome(clip: str = "a", stage: str = "probe", fingerprint: str = "p1", **fields) -> Outcome:
    fields = {"status": "done", "finished_at": MOMENT, **fields}
    return Outcome(clip, stage, fingerprint, **fields)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake", create=True)


def test_an_outcome_comes_back_as_it_was_written(lake: Lake):
    written = outcome(
        score=0.25,
        facts={"fps": "30000/1001", "crop": [0.5, 1.0]},
        artifacts=(Artifact("video.mp4", "d" * 64, 17),),
        stderr="broken \udcff name",
        seconds=1.5,
        frames=100,
    )
    lake.outcomes.append([written])
    (read,) = lake.outcomes.of(["a"], PRINTS)["a"].values()
    assert read == Outcome(**{**vars(written), "stderr": "broken \\udcff name"})


def test_the_latest_row_of_a_key_counts(lake: Lake):
    later = MOMENT + timedelta(microseconds=1)
    lake.outcomes.append([outcome(status="rejected", finished_at=later), outcome()])
    assert lake.outcomes.of(["a"], PRINTS)["a"]["probe"].status == "rejected"


def test_at_the_same_moment_more_attempts_win_and_void_wins_over_all_else_equal(lake: Lake):
    lake.outcomes.append([outcome(attempts=2, status="failed"), outcome(), outcome("b")])
    lake.outcomes.append([outcome("b", status="void")])
    found = lake.outcomes.of(["a", "b"], PRINTS)
    assert found["a"]["probe"].status == "failed"
    assert found["b"] == {}


def test_a_voided_outcome_can_be_computed_again(lake: Lake):
    lake.outcomes.append([outcome()])
    lake.outcomes.void([outcome()])
    assert lake.outcomes.latest(PRINTS).num_rows == 0
    lake.outcomes.append([Outcome("a", "probe", "p1", "done")])
    assert lake.outcomes.latest(PRINTS).num_rows == 1


def test_rows_of_other_fingerprints_and_clips_are_left_out(lake: Lake):
    lake.outcomes.append([outcome(fingerprint="p0"), outcome("b"), outcome("c")])
    rows = lake.outcomes.latest(PRINTS, clips=["a", "b"], columns=["clip", "fingerprint"])
    assert rows.to_pylist() == [{"clip": "b", "fingerprint": "p1"}]


def test_counts_take_each_clip_once(lake: Lake):
    again = MOMENT + timedelta(seconds=1)
    lake.outcomes.append([outcome(frames=5, seconds=2.0), outcome("b", status="rejected")])
    lake.outcomes.append([outcome(frames=5, seconds=3.0, finished_at=again)])
    lake.outcomes.append([outcome(stage="quality", fingerprint="q1", frames=5)])
    assert lake.outcomes.counts(PRINTS) == [
        Count("probe", "done", 1, 5, 3.0),
        Count("probe", "rejected", 1, 0, 0.0),
        Count("quality", "done", 1, 5, 0.0),
    ]
    assert lake.outcomes.counts(PRINTS, members=["b"]) == [Count("probe", "rejected", 1, 0, 0.0)]


def test_counts_tell_how_much_ended_since_a_moment(lake: Lake):
    late = MOMENT + timedelta(seconds=1)
    lake.outcomes.append([outcome(frames=5), outcome("b", frames=7, finished_at=late)])
    members = pa.chunked_array([["a"], ["b"]])
    (count,) = lake.outcomes.counts(PRINTS, members, since=late)
    assert (count.frames, count.recent_frames) == (12, 7)


def test_an_empty_table_has_no_outcomes(lake: Lake):
    assert lake.outcomes.latest(PRINTS).num_rows == 0
    assert lake.outcomes.latest({}).num_rows == 0
    assert lake.outcomes.counts(PRINTS) == []


def test_compaction_changes_no_answer(lake: Lake):
    for second in range(6):
        lake.outcomes.append([outcome(attempts=second, finished_at=MOMENT), outcome(str(second))])
    before = lake.outcomes.counts(PRINTS), lake.outcomes.of(["a"], PRINTS)
    lake.outcomes.compact(files=2)
    assert len(lake.outcomes.table.files()) == 1
    assert (lake.outcomes.counts(PRINTS), lake.outcomes.of(["a"], PRINTS)) == before


APPENDER = """
import sys
from catalog.lake import Lake
from catalog.outcomes import Outcome
lake = Lake(sys.argv[1])
for i in range(12):
    lake.outcomes.append([Outcome(f"{sys.argv[2]}{i}", s, "f", "done") for s in ("probe", "frame")])
    lake.outcomes.compact(files=8)
"""


def test_two_processes_appending_and_compacting_at_once_lose_nothing(lake: Lake):
    workers = [
        subprocess.Popen([sys.executable, "-c", APPENDER, str(lake.root), name]) for name in "xy"
    ]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    found = lake.outcomes.latest({"probe": "f", "frame": "f"}, columns=["clip", "stage"])
    wanted = {(f"{w}{i}", s) for w in "xy" for i in range(12) for s in ("probe", "frame")}
    assert {(row["clip"], row["stage"]) for row in found.to_pylist()} == wanted
    assert found.num_rows == len(wanted)


@pytest.mark.parametrize(
    ("fault", "rows"),
    [("kill@outcomes.commit.before", 0), ("kill@outcomes.commit.after", 2)],
)
def test_a_killed_append_leaves_all_rows_or_none(lake: Lake, fault: str, rows: int):
    code = APPENDER.replace("range(12)", "range(1)")
    killed = subprocess.run(
        [sys.executable, "-c", code, str(lake.root), "x"],
        env={**os.environ, "LIMELIGHT_FAULT": fault},
        timeout=120,
    )
    assert killed.returncode == -9
    assert lake.outcomes.latest({"probe": "f", "frame": "f"}).num_rows == rows


def test_a_full_disk_is_told_as_a_lake_error(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LIMELIGHT_FAULT", "enospc@outcomes.commit.before")
    with pytest.raises(LakeError, match="is full"):
        lake.outcomes.append([outcome()])
    assert lake.outcomes.latest(PRINTS).num_rows == 0


def test_a_missing_table_is_told_as_a_lake_error(tmp_path: Path):
    with pytest.raises(LakeError, match="no table"):
        Lake(tmp_path).outcomes.append([outcome()])


def test_few_clips_and_many_are_picked_out_alike(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    lake.outcomes.append([outcome(clip) for clip in "abc"])
    lake.outcomes.append([outcome("b", status="void"), outcome("c", attempts=2, frames=9)])
    few = lake.outcomes.of(["b", "c"], PRINTS), lake.outcomes.counts(PRINTS, ["b", "c"])
    monkeypatch.setattr("catalog.outcomes._FEW", 0)
    assert (lake.outcomes.of(["b", "c"], PRINTS), lake.outcomes.counts(PRINTS, ["b", "c"])) == few
    assert few[1] == [Count("probe", "done", 1, 9, 0.0)]
