"""Processes that leave nothing behind: sessions, and the leases that name them.

All that a local Ray starts stays in its driver's *session* (daemons, workers and what they
start), so the session's id is the one exact handle on it. :func:`run_in_session` gives a
driver a session of its own and ends what is left of it, however the driver ended. Its lease,
a small file, lets the next command do the same for a supervisor that was killed itself.

Linux only: it reads ``/proc``.
"""

import atexit
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Self

_PR_SET_PDEATHSIG = 1
_SWEEP_SECONDS = 10.0
_PATIENCE = 3
"""How many times a supervisor passes Ctrl-C on before it kills the driver."""


def die_with_parent(sign: int, parent: int) -> None:
    """Have the kernel send us ``sign`` when our parent (its calling thread) ends.

    Args:
        sign: The signal.
        parent: The parent's process id; if it has gone already, we end here.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, sign)
    if os.getppid() != parent:
        os.kill(os.getpid(), sign)


def quiet_teardown() -> None:
    """Let nothing be printed while this interpreter is torn down.

    The threads of Prefect and Ray live on into the teardown, where they keep DuckDB's objects
    alive, of which its bindings then complain on stderr. Call it early: exit handlers run in
    the reverse order of their registration, so that those with something to say come before.
    """
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))


@dataclass(frozen=True)
class Process:
    """A living process, told apart from any later one of the same number.

    Attributes:
        pid: Its number.
        start_time: Clock ticks from boot to its start.
        session: Number of its session.
    """

    pid: int
    start_time: int
    session: int

    @classmethod
    def find(cls, pid: int) -> Self | None:
        """The living process of that number, if there is one (a zombie is none)."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        # The second field, the command in brackets, may hold spaces and brackets itself.
        state, *fields = stat[stat.rindex(")") + 2 :].split()
        if state in "ZX":
            return None
        return cls(pid, start_time=int(fields[18]), session=int(fields[2]))

    def kill(self) -> None:
        """SIGKILL this process; never another one that took its number meanwhile."""
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                if Process.find(self.pid) == self:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)


def members(session: int) -> list[Process]:
    """The living processes of a session."""
    numbers = (entry.name for entry in Path("/proc").iterdir())
    found = (Process.find(int(number)) for number in numbers if number.isdecimal())
    return [process for process in found if process and process.session == session]


def kill_session(session: int, since: int) -> None:
    """End every process of a session that started at ``since`` (clock ticks) or later."""
    until = time.monotonic() + _SWEEP_SECONDS
    while time.monotonic() < until:
        left = [process for process in members(session) if process.start_time >= since]
        if not left:
            return
        for process in left:
            process.kill()
        time.sleep(0.02)


@dataclass(frozen=True)
class Lease:
    """What a supervisor writes down about its driver, in ``<folder>/<session>.json``.

    Attributes:
        driver: The driver, leader of its session.
        supervisor: The supervisor.
        boot: Id of the boot that the numbers belong to.
        run: Id of the run that the driver is at; empty while it has none.
        work: What kind of run that is.
    """

    driver: Process
    supervisor: Process
    boot: str
    run: str = ""
    work: str = ""

    def write(self, folder: Path) -> None:
        """Write the lease; a reader sees all of it, or the one before."""
        folder.mkdir(parents=True, exist_ok=True)
        final = folder / f"{self.driver.session}.json"
        temporary = final.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.rename(final)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The lease in ``path``, if it is there."""
        try:
            fields = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        driver, supervisor = (Process(**fields.pop(who)) for who in ("driver", "supervisor"))
        return cls(driver, supervisor, **fields)

    @property
    def held(self) -> bool:
        """Whether the driver, or a supervisor that will see to it, still lives."""
        if self.boot != boot_id():
            return False
        return any(Process.find(who.pid) == who for who in (self.driver, self.supervisor))


def lease_folder(lake: Path) -> Path:
    """Where the leases of a lake's drivers lie."""
    return lake / "tmp" / "leases"


def boot_id() -> str:
    """Id of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def name_run(folder: Path, run: str, work: str = "") -> None:
    """Called by a driver: write the id of its run, and its kind, into its lease, if it has one."""
    lease = Lease.read(folder / f"{os.getsid(0)}.json")
    if lease:
        replace(lease, run=run, work=work).write(folder)


def run_in_session(
    argv: Sequence[str],
    *,
    leases: Path,
    run: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    killed: Callable[[str], None] = lambda run: None,
) -> int:
    """Run a driver in a session of its own, and leave no process of it behind.

    SIGINT and SIGTERM are passed on to the driver; the third of them kills it. If this
    process dies, the kernel sends the driver a SIGTERM.

    Args:
        argv: The driver's command line.
        leases: Folder for the lease.
        run: Id of the run, if it is known already (else see :func:`name_run`).
        env: The driver's environment; ours by default.
        cwd: The driver's working folder; ours by default.
        killed: Told the id of the run that the driver was at when a signal ended it.

    Returns:
        The driver's exit code; 128 plus the signal's number where a signal ended it.
    """
    trampoline = [sys.executable, "-P", "-m", __name__, str(os.getpid()), *argv]
    driver = subprocess.Popen(trampoline, env=env, cwd=cwd, start_new_session=True)
    leader, ourselves = Process.find(driver.pid), Process.find(os.getpid())
    try:
        if leader and ourselves:
            Lease(leader, ourselves, boot_id(), run).write(leases)
        with _passing_on(driver):
            # Not reaped yet: until the sweep is over, its number can be nobody else's.
            os.waitid(os.P_PID, driver.pid, os.WEXITED | os.WNOWAIT)
    finally:
        driver.kill()
        kill_session(driver.pid, since=0)
        status = driver.wait()
        path = leases / f"{driver.pid}.json"
        lease = Lease.read(path)
        path.unlink(missing_ok=True)
    if status < 0 and lease and lease.run:
        killed(lease.run)
    return status if status >= 0 else 128 - status


@contextmanager
def _passing_on(driver: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass SIGINT and SIGTERM on to the driver while inside."""
    passed = 0

    def pass_on(sign: int, frame: FrameType | None) -> None:
        nonlocal passed
        passed += 1
        driver.send_signal(signal.SIGKILL if passed >= _PATIENCE else sign)

    before = {sign: signal.signal(sign, pass_on) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def reap_stale(leases: Path) -> list[str]:
    """End what dead drivers left behind.

    Args:
        leases: The folder of leases.

    Returns:
        Ids of the runs that these drivers were at: nobody will finish them.
    """
    runs = []
    for path in sorted(leases.glob("*.json")):
        lease = Lease.read(path)
        if lease is None or lease.held:
            continue
        # A session's number is not given away while a member lives. A newcomer that leads a
        # session of this number therefore proves that nothing of ours is left.
        if lease.boot == boot_id() and Process.find(lease.driver.pid) is None:
            kill_session(lease.driver.session, lease.driver.start_time)
        path.unlink(missing_ok=True)
        if lease.run:
            runs.append(lease.run)
    return runs


if __name__ == "__main__":
    die_with_parent(signal.SIGTERM, int(sys.argv[1]))
    # A shell's background jobs are born deaf to SIGINT; a driver is to hear what is passed on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(sys.argv[2], sys.argv[2:])
