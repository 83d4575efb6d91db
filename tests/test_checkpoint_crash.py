"""Killed anywhere, also in the midst of a save, a run goes on bit by bit as if nothing had been."""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KEPT = ["step-00000006", "step-00000007"]


@pytest.fixture(scope="module")
def train():
    """Trains in a folder, one rank for each fault; returns the ranks' exit codes."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.checkpoint_crash"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as server:

        def ask(folder, *faults):
            server.stdin.write(json.dumps({"folder": str(folder), "faults": faults}) + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())

        yield ask
        server.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(train, tmp_path_factory):
    """(Losses and results, passes of each fault point) of a rank alone that nothing befell."""
    folder = tmp_path_factory.mktemp("undisturbed")
    trace = folder / "trace"
    assert train(folder, f"trace@{trace}") == [0]
    return outcome(folder), Counter(trace.read_text().split())


@pytest.fixture(scope="module")
def undisturbed_pair(train, tmp_path_factory):
    """Losses and results of two ranks that nothing befell."""
    folder = tmp_path_factory.mktemp("pair")
    assert train(folder, "", "") == [0, 0]
    return outcome(folder)


def outcome(folder):
    """Losses by rank and step (computed twice, they must be the same twice); and as bytes, at
    the end, weights, averages, optimizer states and random states."""
    losses = {}
    for line in (folder / "losses").read_text().splitlines():
        rank, step, loss = json.loads(line)
        assert losses.setdefault((rank, step), loss) == loss
    return losses, [path.read_bytes() for path in sorted(folder.glob("result-*.safetensors"))]


def boundaries(passes):
    """The last pass of each point, and of some the first one."""
    early = ["checkpoint.mkdir.after", "checkpoint.rename.before", "checkpoint.rename.after"]
    last = [f"{point}#{times}" for point, times in sorted(passes.items())]
    return [*(f"{point}#1" for point in early), "test.step#1", "test.step#4", *last]


def test_there_are_at_least_twenty_points_to_kill_at(undisturbed):
    _, passes = undisturbed
    assert len(boundaries(passes)) >= 25
    for part in ("mkdir", "data", "record", "manifest", "folder.fsync", "rename", "aside", "step"):
        assert any(part in point for point in passes), part


def test_killed_at_any_point_a_run_goes_on_bitwise_equal(train, undisturbed, tmp_path):
    expected, passes = undisturbed
    for number, point in enumerate(boundaries(passes)):
        folder = tmp_path / str(number)
        assert train(folder, f"kill@{point}") == [-signal.SIGKILL], point
        assert train(folder, "") == [0], point
        assert outcome(folder) == expected, point
        # One more is there where nothing was left to save, after which it would have been dropped.
        left = sorted(entry.name for entry in (folder / "checkpoints").iterdir())
        assert left in (KEPT, ["step-00000004", *KEPT]), point


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    "point", ["data.write#30", "record.rename.before#2", "record.rename.after"]
)
def test_killed_on_one_of_two_ranks_too(train, undisturbed_pair, tmp_path, rank, point):
    faults = ["", ""]
    faults[rank] = f"kill@checkpoint.{point}"
    assert train(tmp_path, *faults)[rank] == -signal.SIGKILL
    assert train(tmp_path, "", "") == [0, 0]
    assert outcome(tmp_path) == undisturbed_pair


def test_killed_after_every_save_it_still_arrives(train, undisturbed, tmp_path):
    codes = []
    while codes[-1:] != [[0]]:
        codes.append(train(tmp_path, "kill@checkpoint.rename.after#1"))
    assert len(codes) == 5
    assert outcome(tmp_path) == undisturbed[0]
