"""A worker in a process of its own, as its host sees it: started, fed, watched, replaced."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

from infra.engine import child
from infra.engine.attempts import Attempted, Broken, Failure, Success, cannot_make, exit_name
from infra.engine.base import Kind, WorkerSpec
from infra.errors import LimelightError

TAIL_LINES = 20
TAIL_BYTES = 4096
LOG_BYTES = 1 << 20
ABORT_SECONDS = 2.0
CLOSE_SECONDS = 5.0
POLL_LONGEST = 3600.0
"""The system waits 24 days at most; a deadline may be later."""

# What the host itself adds to the child's messages.
_DIED = b"d"
_HUNG = b"h"

_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
"""Parallel over clips, one thread a worker: same bytes on any machine, and no oversubscription."""


def import_path() -> list[str]:
    """Folders that this process imports from, beyond its installation: for its workers."""
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in kinds}
    folders = [Path(entry or ".").resolve() for entry in sys.path]
    return [
        str(folder)
        for folder in folders
        if folder.is_dir() and installed.isdisjoint((folder, *folder.parents))
    ]


class WorkerProcess:
    """Owner of one worker's process; a lost process is replaced at the next item.

    Args:
        name: The worker's name.
        spec: How to make the worker.
        memory_bytes: Its memory limit (0 = none).
        log: File that takes its stdout and stderr.
        path: Folders to import from, before the installed packages.
        gpus: How much of the machine's GPUs it asked for; with 0 it is shown none. (Ray shows
            those that an actor was given, but all of them to one that asked for none.)
    """

    def __init__(
        self,
        name: str,
        spec: WorkerSpec,
        *,
        memory_bytes: int,
        log: Path,
        path: Sequence[str],
        gpus: float = 0.0,
    ) -> None:
        self.name = name
        self._spec = spec
        self._memory_bytes = memory_bytes
        self._log = log
        self._path = path
        self._gpus = gpus
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._sentinel = -1
        self._used = False
        self._mark = 0

    @property
    def pid(self) -> int | None:
        """Process id of the worker, while it lives."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if self._process and alive else None

    def start(self) -> Broken | None:
        """Start the process and wait until the worker is made.

        Returns:
            Why no worker can be made, or None where it could.
        """
        self.kill()
        ours, theirs = socket.socketpair()
        environment = os.environ | dict.fromkeys(_ONE_THREAD, "1")
        environment["PYTHONPATH"] = os.pathsep.join(self._path)
        if not self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    child.__name__,
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
                env=environment,
                process_group=0,
            )
        self._connection = Connection(ours.detach())
        self._sentinel = os.pidfd_open(self._process.pid)
        self._used = False
        self._mark_log()
        tag, body, _ = self._converse(pickle.dumps((self._spec, self._memory_bytes)), None)
        if tag == child.READY:
            return None
        error: LimelightError
        if tag == child.BROKEN:
            error = pickle.loads(body)  # noqa: S301 - from our own child
        else:
            end = exit_name(self._process.wait())
            error = cannot_make(self._spec, f"its process ended with {end}", self._stderr())
        self.kill()
        return Broken(error)

    def run(self, payload: bytes, deadline: float, *, fresh: bool = False) -> Attempted:
        """Do one item.

        Args:
            payload: The pickled payload.
            deadline: Seconds after which the worker counts as hung.
            fresh: Whether to do it in a process that has done nothing else.
        """
        if self.pid is None or (fresh and self._used):
            broken = self.start()
            if broken:
                return broken
        self._used = True
        self._mark_log()
        began = time.monotonic()
        tag, body, note = self._converse(payload, began + deadline)
        if tag == child.VALUE:
            return Success(body, time.monotonic() - began)
        if tag == child.BROKEN:
            return Broken(pickle.loads(body))  # noqa: S301 - from our own child
        kind, error, message = self._reason(tag, body, deadline)
        return Failure(kind, error, message, self._stderr(), note, time.monotonic() - began)

    def stop(self) -> None:
        """Let the worker close, then end its process."""
        if self._process and self._connection:
            self._connection.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the process, and whatever it started, now."""
        if self._process is None:
            return
        # The group outlives its leader's death while any member lives; its number is ours
        # until we have waited for the leader, and a group without members is no error.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._sentinel)
        if self._connection:
            self._connection.close()
        self._process = self._connection = None

    def _converse(self, payload: bytes, until: float | None) -> tuple[bytes, bytes, str]:
        """Send ``payload``, hear the notes, and return the answer's tag, body and last note."""
        assert self._connection is not None
        note = ""
        try:
            self._connection.send_bytes(payload)
            while True:
                left = POLL_LONGEST if until is None else max(0.0, until - time.monotonic())
                ready = wait([self._connection, self._sentinel], min(left, POLL_LONGEST))
                if not ready:
                    if left < POLL_LONGEST:
                        return _HUNG, b"", note
                    continue
                if self._connection not in ready:
                    return _DIED, b"", note
                message = self._connection.recv_bytes()
                if message[:1] != child.NOTE:
                    return message[:1], message[1:], note
                note = message[1:].decode()
        except (EOFError, OSError):
            return _DIED, b"", note

    def _reason(self, tag: bytes, body: bytes, deadline: float) -> tuple[Kind, str, str]:
        """Kind, error and message of a failure; ends the process where it is of no more use."""
        assert self._process is not None
        if tag == _HUNG:
            # faulthandler answers SIGABRT with a traceback: it shows where the worker hung.
            self._process.send_signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(ABORT_SECONDS)
            self.kill()
            return "hung", "Timeout", f"no end after {deadline:g} s"
        if tag == _DIED:
            end = exit_name(self._process.wait())
            self.kill()
            if self._memory_bytes and "bad_alloc" in self._stderr():
                return "memory", "std::bad_alloc", self._limit()
            return "died", end, f"the worker's process ended with {end}"
        told = json.loads(body)
        if tag == child.MEMORY:
            self.kill()
            return "memory", told["error"], f"{self._limit()}: {told['message']}".rstrip(": ")
        return "raised", told["error"], told["message"]

    def _limit(self) -> str:
        mebibytes = self._memory_bytes / (1 << 20)
        return f"more than {mebibytes:.0f} MiB" if self._memory_bytes else "out of memory"

    def _mark_log(self) -> None:
        """Note where this item's words begin; start the log again where it has grown long."""
        self._mark = self._log.stat().st_size
        if self._mark > LOG_BYTES:
            os.truncate(self._log, 0)  # writers append, so they go on at its new end
            self._mark = 0

    def _stderr(self) -> str:
        """The last lines written since the mark."""
        with self._log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._mark, end - TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-TAIL_LINES:])
