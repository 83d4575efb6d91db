"""Watching over the ranks of a run until they have ended, one way or another."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.launch.host import Host
from training.launch.job import Ending, Job, Launcher
from training.loop.folder import age

TAIL_LINES = 20
TAIL_BYTES = 1 << 14
_LOOK = 0.2
_WRONG = ("Traceback (most recent call last)", "Fatal Python error", "Error:")


@dataclass(frozen=True)
class Patience:
    """How long ranks may be silent, in seconds.

    Attributes:
        start: Until their first sign of life: they import, and find each other.
        beat: From one sign of life to the next: they load the model, and measure the device; later
            they take a step, validate, or draw previews.
        leave: Once they were asked to leave: they finish their step, and save.
    """

    start: float = 900.0
    beat: float = 900.0
    leave: float = 900.0


def launch(
    launcher: Launcher,
    job: Job,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    patience: Patience = Patience(),
) -> Ending:
    """Start the ranks of a run, and wait until they have ended.

    Once ``cancelled`` says so they are asked to leave, and are waited for while they save. No
    process of theirs is left, whatever happens, this process's death included.

    Args:
        launcher: Starts them.
        job: What is started.
        cancelled: True once somebody wants the run to stop.
        patience: How long they may be silent.

    Raises:
        LakeError: The run's folder cannot be written.
    """
    for leftover in (job.folder.ended, job.folder.heartbeat):
        leftover.unlink(missing_ok=True)
    marks = {path: path.stat().st_size for path in job.desk.glob("*.log")}
    host = Host(launcher, job)
    try:
        hung = _watch(host, job, cancelled, patience)
    finally:
        host.kill()
        shutil.rmtree(job.scratch, ignore_errors=True)
    return _ending(job, hung, marks, asked=job.stop.exists())


def _watch(host: Host, job: Job, cancelled: Callable[[], bool], patience: Patience) -> str:
    """Wait for the end; why no end came, if none did."""
    began = time.time()
    asked: float | None = None
    while host.poll() is None:
        now = time.time()
        if asked is None and cancelled():
            asked = now
            job.stop.touch()
        silent = age(job.folder.heartbeat, now)
        if asked is not None and now - asked > patience.leave:
            return f"the ranks did not leave within {patience.leave:g} s"
        if silent == float("inf") and now - began > patience.start:
            return f"no rank gave a sign of life within {patience.start:g} s"
        if patience.beat < silent < float("inf"):
            return f"the ranks gave no sign of life for {patience.beat:g} s"
        time.sleep(_LOOK)
    return ""


def _ending(job: Job, hung: str, marks: dict[Path, int], *, asked: bool) -> Ending:
    """What became of the ranks: what they said of it themselves, or else what was seen."""
    said = job.folder.ending()
    if said is not None:
        return Ending(said["reason"], said["step"], said["message"], _words(job, marks))
    if hung:
        return Ending("hung", 0, hung, _words(job, marks))
    if asked and not job.folder.heartbeat.exists():
        return Ending("preempted", 0, "the ranks left before they had begun")
    return Ending("crashed", 0, "a rank died", _words(job, marks))


def _words(job: Job, marks: dict[Path, int]) -> str:
    """The last lines of the rank to blame: of those that complain, the first to fall silent."""
    said = {path: _tail(path, marks.get(path, 0)) for path in job.desk.glob("*.log")}
    told = [path for path, text in said.items() if text and path != job.host_log]
    guilty = [path for path in told if any(word in said[path] for word in _WRONG)]
    # The others only complain of the connection to it that they lost.
    for path in sorted(guilty, key=lambda path: path.stat().st_mtime_ns) or [job.host_log]:
        return said.get(path, "")
    return ""


def _tail(path: Path, mark: int) -> str:
    """The last lines written since the mark."""
    with path.open("rb") as log:
        end = log.seek(0, 2)
        log.seek(max(mark, end - TAIL_BYTES))
        text = log.read().decode(errors="replace")
    return "\n".join(text.rstrip().splitlines()[-TAIL_LINES:])
