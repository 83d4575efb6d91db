"""Ranks are started, watched over and ended; how a run went is read from its folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.errors import UsageError
from infra.processes import Process
from tests.plain_launcher import Plain
from tests.rank_programs import NAME, instruct, starts
from training.launch.hold import held, hold
from training.launch.job import Job
from training.launch.launchers import Torchrun, find_launcher
from training.launch.watch import Patience, launch
from training.loop.folder import RunFolder

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs" / "a run")


def job(folder, *deeds):
    instruct(folder, list(deeds))
    return Job(folder, ranks=len(deeds), program=NAME)


def once(*paths):
    """A wish to cancel that comes when all ``paths`` are there."""
    return lambda: all(path.exists() for path in paths)


def alive(folder):
    """Ranks of a run that still live."""
    pids = [pid for path in folder.root.glob("starts-*") for pid in starts(folder, path.name[-1])]
    return [pid for pid in pids if Process.find(pid)]


def eventually(happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_that_finishes_says_so_itself(folder):
    ending = launch(Plain(), job(folder, "finish", "finish"))
    assert (ending.reason, ending.step, ending.message) == ("finished", 7, "")
    assert not (folder.root / "launch" / "scratch").exists()


def test_a_run_that_stops_says_why(folder):
    ending = launch(Plain(), job(folder, "work", "stop"))
    assert (ending.reason, ending.step) == ("stopped", 4)
    assert "not finite" in ending.message
    assert alive(folder) == []


def test_the_words_of_the_rank_to_blame_are_kept(folder):
    ending = launch(Plain(), job(folder, "work", "fail"))
    assert ending.reason == "crashed"
    assert ending.log.endswith("RuntimeError: I was told to")
    assert alive(folder) == []


def test_words_of_an_earlier_start_are_not_repeated(folder):
    launch(Plain(), job(folder, "fail"))
    ending = launch(Plain(), job(folder, "die"))
    assert ending.reason == "crashed"
    assert "told to" not in ending.log


def test_an_end_of_an_earlier_start_is_not_taken_for_that_of_this_one(folder):
    launch(Plain(), job(folder, "finish"))
    assert launch(Plain(), job(folder, "die")).reason == "crashed"


def test_ranks_that_give_no_sign_of_life_are_killed(folder):
    ending = launch(Plain(), job(folder, "hang", "hang"), patience=Patience(beat=0.5))
    assert ending.reason == "hung"
    assert "no sign of life for 0.5 s" in ending.message
    assert alive(folder) == []


def test_ranks_that_never_begin_are_killed(folder):
    never = Job(folder, program="timeit")  # reads its argument as code, and waits for nothing
    instruct(folder, [])
    folder.root.joinpath("launch").mkdir()
    ending = launch(Plain(), never, patience=Patience(start=0.0))
    assert ending.reason == "hung"
    assert "within 0 s" in ending.message


def test_a_cancelled_run_leaves_by_sigterm_on_every_rank(folder):
    asked = once(folder.heartbeat, folder.root / "starts-1")
    ending = launch(Plain(), job(folder, "work", "work"), cancelled=asked)
    assert (ending.reason, ending.step) == ("preempted", 3)
    assert (folder.root / "left-1").exists()


def test_ranks_that_die_when_asked_to_leave_have_saved_nothing(folder):
    asked = once(folder.heartbeat)
    assert launch(Plain(), job(folder, "wait"), cancelled=asked).reason == "crashed"


def test_ranks_that_do_not_leave_are_killed(folder):
    ending = launch(
        Plain(),
        job(folder, "hang", "hang"),
        cancelled=once(folder.heartbeat),
        patience=Patience(leave=0.5),
    )
    assert ending.reason == "hung"
    assert "did not leave within 0.5 s" in ending.message
    assert alive(folder) == []


def test_a_request_to_leave_does_not_outlive_its_run(folder):
    launch(Plain(), job(folder, "work"), cancelled=once(folder.heartbeat))
    assert launch(Plain(), job(folder, "finish")).reason == "finished"


def test_no_rank_outlives_a_driver_that_was_killed(folder):
    code = (
        "import sys; from tests.test_launch import *;"
        "launch(Plain(), job(RunFolder(sys.argv[1]), 'hang', 'hang'))"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, str(folder.root)], cwd=ROOT)
    eventually(lambda: starts(folder, 0) and starts(folder, 1))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    eventually(lambda: not alive(folder))


def test_under_torchrun_one_dead_rank_ends_all(folder):
    ending = launch(Torchrun(), job(folder, "wait", "fail"))
    assert ending.reason == "crashed"
    assert ending.log.endswith("RuntimeError: I was told to")
    assert alive(folder) == []


@pytest.mark.ray
def test_what_a_cluster_has_no_room_for_stops_the_run(folder):
    ending = launch(find_launcher("ray"), job(folder, *["finish"] * (os.cpu_count() * 8)))
    assert ending.reason == "stopped"
    assert "the cluster has room for" in ending.message


def test_an_unknown_launcher_is_refused():
    with pytest.raises(UsageError, match="allowed are torchrun and ray"):
        find_launcher("spark")


def test_a_run_has_one_driver(folder):
    assert not held(folder)
    with hold(folder):
        assert held(folder)
        with pytest.raises(UsageError, match="being trained already"), hold(folder):
            pass
    assert not held(folder)
