"""What a training run leaves in its folder for others to follow it by."""

import json

import pytest

from infra.errors import LakeError
from training.loop.folder import RunFolder, age, cut_log, read_log


def _write(path, rows, tail=""):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)


def test_a_log_is_cut_where_its_run_goes_on(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{"kind": "start", "step": 0}, *({"kind": "step", "step": s} for s in (1, 2, 3))]
    _write(path, rows, '{"kind": "step", "st')
    assert read_log(path) == rows  # the torn line is left out
    cut_log(path, 2)
    assert read_log(path) == rows[:3]
    assert read_log(path, "step") == rows[1:3]
    assert path.read_bytes().endswith(b"\n")
    cut_log(path, 0)
    assert path.read_bytes() == b""


def test_a_log_ends_at_its_first_torn_line(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{"kind": "step", "step": step} for step in (1, 2)]
    _write(path, rows, '{"kind": "st\n{"kind": "step", "step": 3}\n')
    assert read_log(path) == rows
    cut_log(path, 3)
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows


def test_a_log_that_needs_no_cut_is_left_alone(tmp_path):
    path = tmp_path / "log.jsonl"
    _write(path, [{"kind": "step", "step": 1}])
    before = path.stat().st_ino
    cut_log(path, 1)
    assert path.stat().st_ino == before


def test_a_run_at_work_has_no_end_and_its_heart_beats(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.ending() is None
    assert age(folder.heartbeat, 100.0) == float("inf")
    folder.begin()
    assert age(folder.heartbeat, folder.heartbeat.stat().st_mtime + 5) == pytest.approx(5)
    folder.end("stopped", 4, message="no number")
    assert folder.ending() == {
        "reason": "stopped",
        "step": 4,
        "model": None,
        "message": "no number",
    }
    folder.begin()
    assert folder.ending() is None


def test_the_first_rank_that_stops_says_why(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin()
    folder.end("stopped", 4, message="the disk is full")
    folder.end("stopped", 4, message="rank 1 is gone")
    assert folder.ending()["message"] == "the disk is full"


def test_an_end_that_cannot_be_read_is_told(tmp_path):
    folder = RunFolder(tmp_path)
    folder.ended.write_text("{")
    with pytest.raises(LakeError, match=r"ended\.json cannot be understood"):
        folder.ending()
