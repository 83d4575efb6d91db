"""One rank's process: what holds for it whatever it runs, and whoever started it.

``python -m training.launch.rank DESK MODULE ARGUMENT...`` runs the module as a rank. It ends with
its host; what it prints goes to a file of its own; and once the desk's ``stop`` is there it gets a
SIGTERM. A file is a word that reaches ranks on every machine, past launchers that would give them
half a minute to leave.
"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path
from threading import Thread

from infra.processes import die_with_parent
from training.launch.host import HOST

PERIOD = 0.5
"""Seconds from one look for the stop file to the next."""


def main() -> None:
    """Become the rank program."""
    desk, module, *arguments = sys.argv[1:]
    die_with_parent(signal.SIGKILL, int(os.environ[HOST]))
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_DFL)
    log = os.open(
        Path(desk) / f"rank-{os.environ['RANK']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
    )
    for stream in (1, 2):
        os.dup2(log, stream)
    Thread(target=_heed, args=(Path(desk) / "stop",), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _heed(stop: Path) -> None:
    """Send this process a SIGTERM once ``stop`` is there."""
    while not stop.exists():
        time.sleep(PERIOD)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
