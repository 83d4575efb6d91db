"""Killed at any write boundary, a build is finished by building again, to the same bytes.

Every boundary is struck, in the order in which a build first passes them and in one lake: each
build takes up what the one before left, and falls at the next boundary. Builds that fall only
once are looked at too, at the last boundary of each kind.
"""

import multiprocessing
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.fake_stages import write_clips

TEXTS = [f"clip number {number}" for number in range(3)] + ["reject this one"]

# A server that has imported everything and started no thread: a build in a fork of it is as
# good as one in a new process, and starts in milliseconds.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.crash_builds"])


def begin(target, *args, **environment):
    """Start a function of `tests.crash_builds` in a process of its own; give it to `end`."""
    import tests.crash_builds as builds

    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(
        target=builds.call, args=(sender, target, args, {k: str(v) for k, v in environment.items()})
    )
    process.start()
    sender.close()
    return process, receiver


def end(process, receiver):
    """(What it returned, its exit code); None for what a killed process returned."""
    try:
        answer = receiver.recv()
    except EOFError:
        answer = None
    process.join(60)
    return answer, process.exitcode


def in_fork(target, *args, **environment):
    """Begin and end."""
    return end(*begin(target, *args, **environment))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("crash") / "clips", TEXTS)


@pytest.fixture(scope="module")
def undisturbed(clips, tmp_path_factory):
    """Digest of an undisturbed build, and how often it passes each fault point."""
    lake = tmp_path_factory.mktemp("undisturbed") / "lake"
    trace = lake.with_name("trace")
    (digest, _), code = in_fork("build", lake, clips, LIMELIGHT_FAULT=f"trace@{trace}")
    assert code == 0
    return digest, Counter(trace.read_text().split())


@pytest.fixture
def points(undisturbed):
    """Every fault point, in the order in which a build first passes them."""
    return list(undisturbed[1])


def test_there_are_at_least_forty_boundaries(points):
    assert len(points) >= 40
    for kind in ("write", "fsync", "rename", "commit", "close"):
        assert any(f".{kind}." in point for point in points), kind


def test_killed_at_one_write_boundary_after_the_other_a_build_ends_in_the_same_release(
    undisturbed, points, clips, tmp_path
):
    for point in points:
        answer, code = in_fork("build", tmp_path / "lake", clips, LIMELIGHT_FAULT=f"kill@{point}")
        assert (answer, code) == (None, -signal.SIGKILL), point
    examined, _ = in_fork("build_and_examine", tmp_path / "lake", clips)
    assert examined == whole(undisturbed)


def test_killed_once_a_build_resumes_to_the_same_release(undisturbed, points, clips, tmp_path):
    _, passes = undisturbed
    kinds = {point.split(".")[-2]: point for point in points if point.endswith("after")}
    assert passes["artifact.rename.after"] > 1
    for number, point in enumerate([*kinds.values(), "artifact.rename.after"]):
        boundary, lake = f"{point}#{passes[point]}", tmp_path / str(number)
        answer, code = in_fork("build", lake, clips, LIMELIGHT_FAULT=f"kill@{boundary}")
        assert (answer, code) == (None, -signal.SIGKILL), boundary
        examined, _ = in_fork("build_and_examine", lake, clips)
        assert examined == whole(undisturbed), boundary


def whole(undisturbed):
    """What `build_and_examine` says where nothing is wrong."""
    return {"digest": undisturbed[0], "problems": [], "doubled": 0, "lost": 0}


def test_what_was_finished_before_the_kill_is_not_computed_again(undisturbed, clips, tmp_path):
    _, passes = undisturbed
    last = passes["outcomes.commit.after"]
    answer, _ = in_fork(
        "build", tmp_path / "lake", clips, LIMELIGHT_FAULT=f"kill@outcomes.commit.after#{last}"
    )
    assert answer is None
    (_, computed), _ = in_fork("build", tmp_path / "lake", clips)
    assert computed == {}


@pytest.mark.parametrize("names", [("one", "other"), ("same", "same")])
def test_two_builds_at_once_with_clips_in_common_do_not_disturb_each_other(tmp_path, names):
    texts = [f"clip number {number}" for number in range(15)]
    folders = [
        write_clips(tmp_path / "early", texts[:10]),
        write_clips(tmp_path / "late", texts[5:]) if names[0] != names[1] else tmp_path / "early",
    ]
    alone = [
        in_fork("build", tmp_path / f"alone-{number}", folder)[0][0]
        for number, folder in enumerate(folders)
    ]
    lake = tmp_path / "lake"
    barrier = CONTEXT.Barrier(2)
    builds = [
        begin("build_beside", lake, folder, name, barrier)
        for folder, name in zip(folders, names, strict=True)
    ]
    ends = [end(*one) for one in builds]
    assert [code for _, code in ends] == [0, 0]
    assert [answer for answer, _ in ends] == [(digest, []) for digest in alone]
    # And what both have left behind is whole: a third build finds nothing to do.
    for folder, digest in zip(folders, alone, strict=True):
        assert in_fork("build", lake, folder)[0] == (digest, {})


@pytest.mark.parametrize("error", ["enospc", "erofs"])
def test_a_full_or_read_only_disk_is_a_clear_error_and_a_later_run_completes(
    undisturbed, points, clips, tmp_path, error
):
    words = {"enospc": "is full", "erofs": "is read-only"}[error]
    lake = tmp_path / "lake"
    before = [point for point in points if point.endswith("before")]
    if error == "erofs":
        # What tells the two apart is one number, wherever it comes from: once of each kind.
        first = {point.split(".")[-2]: point for point in reversed(before)}
        before = [point for point in before if point in first.values()]
    for point in before:
        message, code = in_fork("build_and_tell", lake, clips, LIMELIGHT_FAULT=f"{error}@{point}")
        assert code == 0
        assert message.startswith("LakeError"), f"{point}: {message}"
        assert words in message, point
    (resumed, _), _ = in_fork("build", lake, clips)
    assert resumed == undisturbed[0]


def test_a_disk_that_is_really_full_is_a_clear_error(undisturbed, clips, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount(disk, "size=1m")
    try:
        (disk / "ballast").write_bytes(bytes(960 << 10))
        message, _ = in_fork("build_and_tell", disk / "lake", clips)
        assert message.startswith("LakeError")
        assert "is full" in message
        (disk / "ballast").unlink()
        mount(disk, "remount,size=100m")
        (resumed, _), _ = in_fork("build", disk / "lake", clips)
        assert resumed == undisturbed[0]
    finally:
        unmount(disk)


def test_a_lake_on_a_read_only_disk_is_a_clear_error(undisturbed, clips, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount(disk, "size=50m")
    try:
        (done, _), _ = in_fork("build", disk / "lake", clips)
        (clips.parent / "more").mkdir(exist_ok=True)
        more = write_clips(clips.parent / "more", ["something new"])
        mount(disk, "remount,ro")
        message, _ = in_fork("build_and_tell", disk / "lake", more)
        assert message.startswith("LakeError")
        assert "read-only" in message
        mount(disk, "remount,rw")
        (again, _), _ = in_fork("build", disk / "lake", clips)
        assert again == done
    finally:
        unmount(disk)


def mount(folder: Path, options: str) -> None:
    """Mount a small disk in memory, or change its options; skips where that is not allowed."""
    import subprocess

    command = ["mount", "-t", "tmpfs", "-o", options, "limelight-test", os.fspath(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")


def unmount(folder: Path) -> None:
    import subprocess

    subprocess.run(["umount", os.fspath(folder)], check=True)
