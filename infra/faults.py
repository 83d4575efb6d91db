"""Named points at which a test may kill the process or make a write fail.

Every write boundary of Limelight calls :func:`fault_point`. In ordinary life that is a
dictionary look-up. With ``LIMELIGHT_FAULT=kill@artifact.rename.after#3`` the third pass
of that point ends the process by SIGKILL; with ``enospc@...``, ``erofs@...`` or ``eio@...`` it
raises the matching ``OSError``. ``trace@/path/to/file`` records the name of each point passed,
so that a crash test can enumerate what there is to kill.
"""

import errno
import os
import signal
from collections import Counter
from pathlib import Path

VARIABLE = "LIMELIGHT_FAULT"
_ERRORS = {"enospc": errno.ENOSPC, "erofs": errno.EROFS, "eio": errno.EIO}
_passes: Counter[str] = Counter()


def fault_point(name: str) -> None:
    """Pass the point ``name``; a test may have put a fault there.

    A fault strikes once per machine: a file named by ``LIMELIGHT_FAULT_ONCE`` is created
    exclusively before the blow, so that the process which takes over is not struck again.
    """
    fault = os.environ.get(VARIABLE)
    if not fault:
        return
    action, _, target = fault.partition("@")
    if action == "trace":
        with Path(target).open("a") as trace:
            trace.write(name + "\n")
        return
    point, _, nth = target.partition("#")
    if name != point:
        return
    _passes[name] += 1
    if _passes[name] != int(nth or 1) or not _strike_once():
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    code = _ERRORS[action]
    raise OSError(code, os.strerror(code), name)


def _strike_once() -> bool:
    once = os.environ.get("LIMELIGHT_FAULT_ONCE")
    if not once:
        return True
    try:
        os.close(os.open(once, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
