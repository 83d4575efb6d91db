"""Sessions, leases and the sweep of what dead drivers left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.processes import (
    Lease,
    Process,
    boot_id,
    kill_session,
    members,
    name_run,
    reap_stale,
    run_in_session,
)

# A driver with a child in its process group, and one in a group of its own whose parent has
# gone: as Ray's daemons and workers are. It says "up", then waits.
FAMILY = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
subprocess.Popen(sleep)
subprocess.run([sys.executable, "-c",
    f"import subprocess; subprocess.Popen({sleep!r}, process_group=0)"])
open(sys.argv[1], "w").close()
time.sleep(float(sys.argv[2]))
"""

SUPERVISOR = """
import sys
from pathlib import Path
from infra.processes import run_in_session
sys.exit(run_in_session(sys.argv[2:], leases=Path(sys.argv[1]), run="run-7"))
"""


def family(up: Path, seconds: float) -> list[str]:
    return [sys.executable, "-c", FAMILY, str(up), str(seconds)]


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


class Supervised:
    """A supervisor in a process of its own, with a family."""

    def __init__(self, folder: Path) -> None:
        self.leases = folder / "leases"
        up = folder / "up"
        argv = [sys.executable, "-c", SUPERVISOR, str(self.leases), *family(up, 60)]
        self.process = subprocess.Popen(argv)
        until(up.exists)
        [self.lease_path] = self.leases.glob("*.json")
        self.session = int(self.lease_path.stem)
        assert len(members(self.session)) == 3


@pytest.fixture
def supervised(tmp_path: Path) -> Supervised:
    return Supervised(tmp_path)


def test_the_exit_code_is_the_drivers(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "raise SystemExit(5)"]
    assert run_in_session(argv, leases=tmp_path) == 5


def test_nothing_is_left_after_a_driver_that_ends_by_itself(tmp_path: Path) -> None:
    seen: list[int] = []
    up = tmp_path / "up"
    leases = tmp_path / "leases"
    argv = [sys.executable, "-c", FAMILY + "\nimport os; print(os.getsid(0))", str(up), "0.1"]
    code = f"import sys; sys.argv = {argv[2:]!r}; exec({argv[2]!r})"
    output = subprocess.run(
        [sys.executable, "-c", SUPERVISOR, str(leases), sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=20,
    ).stdout
    seen.append(int(output))
    assert members(seen[0]) == []
    assert not list(leases.iterdir())


def test_nothing_is_left_after_a_driver_is_killed(supervised: Supervised) -> None:
    os.kill(supervised.session, signal.SIGKILL)
    assert supervised.process.wait(60) == 128 + signal.SIGKILL
    assert members(supervised.session) == []
    assert not list(supervised.leases.iterdir())


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on_to_the_driver(supervised: Supervised, sign: signal.Signals) -> None:
    supervised.process.send_signal(sign)
    # Python ends by SIGINT with that very signal, after its KeyboardInterrupt.
    assert supervised.process.wait(60) == 128 + sign
    assert members(supervised.session) == []


def test_the_driver_of_a_background_job_hears_sigint_too(tmp_path: Path) -> None:
    """A shell without job control starts what it puts into the background deaf to SIGINT."""
    up = tmp_path / "up"
    shell = ["sh", "-c", '"$@" & echo $!; wait', "sh"]
    supervisor = [sys.executable, "-c", SUPERVISOR, str(tmp_path / "l"), *family(up, 60)]
    job = subprocess.Popen([*shell, *supervisor], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    started = Process.find(int(job.stdout.readline()))
    assert started is not None
    until(up.exists)
    os.kill(started.pid, signal.SIGINT)
    try:
        job.wait(20)
    finally:
        started.kill()


def test_the_third_signal_kills_a_driver_that_does_not_listen(tmp_path: Path) -> None:
    up = tmp_path / "up"
    deaf = (
        "import signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "open(sys.argv[1], 'w').close(); time.sleep(60)"
    )
    argv = [sys.executable, "-c", deaf, str(up)]
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(tmp_path / "l"), *argv])
    until(up.exists)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert process.wait(60) == 128 + signal.SIGKILL


def test_a_killed_supervisor_takes_the_driver_along_and_its_lease_reaps_the_rest(
    supervised: Supervised,
) -> None:
    assert reap_stale(supervised.leases) == []
    assert len(members(supervised.session)) == 3
    supervised.process.kill()
    supervised.process.wait()
    until(lambda: Process.find(supervised.session) is None)
    assert len(members(supervised.session)) == 2
    assert reap_stale(supervised.leases) == ["run-7"]
    assert members(supervised.session) == []
    assert not list(supervised.leases.iterdir())


def test_a_number_given_to_another_process_is_not_killed(tmp_path: Path) -> None:
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    )
    now = Process.find(stranger.pid)
    assert now
    gone = replace(now, start_time=now.start_time - 1)
    Lease(gone, gone, boot_id(), "run-1").write(tmp_path)
    assert reap_stale(tmp_path) == ["run-1"]
    gone.kill()
    kill_session(now.session, since=now.start_time + 1)
    assert Process.find(stranger.pid) == now
    now.kill()
    assert stranger.wait(60) == -signal.SIGKILL


def test_a_lease_of_an_earlier_boot_kills_nobody(tmp_path: Path) -> None:
    ourselves = Process.find(os.getpid())
    assert ourselves
    Lease(ourselves, ourselves, "another boot", "run-2").write(tmp_path)
    assert reap_stale(tmp_path) == ["run-2"]


def test_a_driver_names_its_run_in_its_lease(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from infra.processes import name_run, Lease;"
        "folder = Path(sys.argv[1]); name_run(folder, 'run-3');"
        "[path] = folder.glob('*.json'); assert Lease.read(path).run == 'run-3'"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    assert run_in_session(argv, leases=tmp_path) == 0


def test_a_process_without_a_lease_names_nothing(tmp_path: Path) -> None:
    name_run(tmp_path, "run-4")
    assert not list(tmp_path.iterdir())


def test_a_zombie_is_no_living_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Process.find(child.pid) is None
    child.wait()
