"""The process under which ranks run: it ends with the process that started it.

``python -m training.launch.host PARENT MODULE ARGUMENT...`` runs the module after having tied its
life to that of ``PARENT``; the ranks tie theirs to its own (`training.launch.rank`). So however a
driver ends, by SIGKILL too, no rank of it goes on.
"""

import os
import runpy
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL, Popen

import psutil

from infra.processes import Process, die_with_parent
from infra.storage import lake_errors
from training.launch.job import Job, Launcher

HOST = "LIMELIGHT_HOST"
"""Names the process whose end is every rank's end."""

_GONE_SECONDS = 30.0


class Host:
    """A launcher's process; it is started at once.

    Args:
        launcher: Whose.
        job: What it starts.
    """

    def __init__(self, launcher: Launcher, job: Job) -> None:
        with lake_errors(job.desk):
            job.scratch.mkdir(parents=True, exist_ok=True)
            job.stop.unlink(missing_ok=True)
            log = job.host_log.open("ab")
        module = [sys.executable, "-P", "-m", __name__, str(os.getpid())]
        with log:
            self._process = Popen(
                [*module, *launcher.command(job)],
                env=environment(launcher.environment(job)),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def poll(self) -> int | None:
        """The exit code, or None while it runs; it says little of how the run went."""
        return self._process.poll()

    def kill(self) -> None:
        """End it now, and every process below it."""
        if self._process.poll() is not None:
            return
        # Looked up before anything dies, while each can still be told from its parent.
        below = psutil.Process(self._process.pid).children(recursive=True)
        found = [process for child in below if (process := Process.find(child.pid))]
        self._process.kill()
        for process in found:
            process.kill()
        self._process.wait()
        # What they hold of a GPU is free only once they are gone.
        until = time.monotonic() + _GONE_SECONDS
        while any(Process.find(each.pid) == each for each in found) and time.monotonic() < until:
            time.sleep(0.02)


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Our environment with ``more``, and with our folders to import from."""
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    return {**os.environ, "PYTHONPATH": path, **more}


def main() -> None:
    """Become the launcher's process."""
    parent, module, *arguments = sys.argv[1:]
    die_with_parent(signal.SIGKILL, int(parent))
    os.environ[HOST] = str(os.getpid())
    # Where a machine is cleared by SIGTERM, ranks save and leave; whoever cut that short by
    # leaving first would lose it.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_IGN)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
