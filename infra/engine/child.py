"""The process in which one worker lives.

Started by :class:`infra.engine.process.WorkerProcess` with one end of a socket. It makes the
worker, then does one payload at a time until the socket closes. A process of its own is what
makes a death attributable: its host sees the signal or exit code, reads its stderr, and is
itself unharmed by what the item did to the worker's memory.
"""

import faulthandler
import json
import pickle
import resource
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from infra.engine.attempts import HOPELESS, cannot_make, error_name
from infra.engine.base import Worker, WorkerSpec
from infra.errors import LimelightError
from infra.processes import die_with_parent

# First byte of each message to the host; the rest is its body.
READY = b"+"  # the worker is made; no body
BROKEN = b"!"  # a pickled LimelightError that concerns every item
NOTE = b"n"  # UTF-8 text
VALUE = b"v"  # the pickled value
RAISED = b"r"  # JSON {"error", "message"}
MEMORY = b"m"  # the same, for a MemoryError: the process is spent


def limit_memory(allowance: int) -> None:
    """Let this process's data grow by ``allowance`` bytes from here on (0 = no limit)."""
    if allowance:
        status = Path("/proc/self/status").read_text()
        now = next(int(line.split()[1]) for line in status.splitlines() if "VmData" in line)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (now * 1024 + allowance, hard))


def lift_memory_limit() -> None:
    """Make room for telling that the limit was met."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _told(error: BaseException) -> bytes:
    # The traceback goes where a crash's last words go, so that a person finds both there.
    traceback.print_exception(error)
    return json.dumps({"error": error_name(error), "message": str(error)}).encode()


def answer(worker: Worker, payload: bytes, connection: Connection) -> bytes:
    """Do one item.

    Args:
        worker: The worker.
        payload: The pickled payload.
        connection: Takes the worker's notes.

    Returns:
        The message that tells the host what came of it.
    """

    def note(text: str) -> None:
        connection.send_bytes(NOTE + text.encode())

    try:
        value: Any = worker.run(pickle.loads(payload), note)  # noqa: S301 - from our own driver
        return VALUE + pickle.dumps(value)
    except HOPELESS as error:
        traceback.print_exception(error)
        return BROKEN + pickle.dumps(error)
    except MemoryError as error:
        lift_memory_limit()
        return MEMORY + _told(error)
    except (Exception, SystemExit) as error:
        return RAISED + _told(error)


def make(spec: WorkerSpec, connection: Connection) -> Worker | None:
    """Make the worker, and tell the host whether that went well."""
    try:
        worker = spec.make()
    except LimelightError as error:
        connection.send_bytes(BROKEN + pickle.dumps(error))
    except BaseException as error:
        lift_memory_limit()
        told = cannot_make(spec, f"{error_name(error)}: {error}", traceback.format_exc())
        connection.send_bytes(BROKEN + pickle.dumps(told))
    else:
        connection.send_bytes(READY)
        return worker
    return None


def main(handle: int, host: int) -> None:
    """Serve until the host closes its end.

    Args:
        handle: File descriptor of our end of the socket.
        host: The host's process id; we do not outlive it.
    """
    die_with_parent(signal.SIGKILL, host)
    faulthandler.enable()
    # Ctrl-C reaches every process of a terminal; ending is the driver's to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection = Connection(handle)
    spec, memory_bytes = pickle.loads(connection.recv_bytes())  # noqa: S301 - from our own host
    limit_memory(memory_bytes)
    worker = make(spec, connection)
    if worker is None:
        return
    while True:
        try:
            payload = connection.recv_bytes()
        except EOFError:
            break
        connection.send_bytes(answer(worker, payload, connection))
    worker.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
