"""Background processes of a lake: started once, found again, ended with all they spawned.

A daemon holds a lock on its own record from its first moment until its death. Whoever
wants to know whether it lives tries that lock, so neither a recycled pid nor a record left
behind by a crash can be mistaken for it, and of two that start at once one gives way.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra import faults
from infra.errors import EngineError
from infra.processes import Process, kill_session
from infra.storage import lake_errors

_CLAIM_SECONDS = 1.0
"""How long a lock may look taken because somebody else is just trying it."""


@dataclass(frozen=True)
class Daemon:
    """One named background process of a lake.

    Attributes:
        home: Folder of its record and log.
        name: What it is called, e.g. ``server``.
    """

    home: Path
    name: str

    @property
    def record(self) -> Path:
        """The locked file that holds what the daemon says of itself."""
        return self.home / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """Where its standard output and error go."""
        return self.home / f"{self.name}.log"

    def running(self) -> dict[str, Any] | None:
        """What the living daemon says of itself (at least ``pid`` and ``host``), or None."""
        deadline = time.monotonic() + _CLAIM_SECONDS
        while self._locked():
            try:
                facts: dict[str, Any] = json.loads(self.record.read_bytes())
                return facts
            except ValueError:
                # It has taken the lock and not yet written.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        return None

    def start(
        self, module: str, *arguments: str, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start ``python -m module arguments`` in a session of its own, in the background.

        The module has to :meth:`claim` this daemon; when another holds it already, the new
        process gives way, so calling this once too often does no harm.

        Raises:
            LakeError: The lake is full or read-only.
        """
        with lake_errors(self.home):
            self.home.mkdir(parents=True, exist_ok=True)
            log = self.log.open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=self.home,
                # A fault meant for the command is not meant for what it leaves running.
                env={k: v for k, v in environment.items() if not k.startswith(faults.VARIABLE)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def claim(self, **facts: Any) -> None:
        """Become this daemon (called in the background process itself).

        The lock survives ``exec`` and is let go by the kernel when the process ends.

        Args:
            facts: What others should know; ``pid`` and ``host`` are added.

        Raises:
            SystemExit: Another process is this daemon already; this one ends in silence.
        """
        handle = os.open(self.record, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + _CLAIM_SECONDS
        while not _try_lock(handle, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise SystemExit(0)
            time.sleep(0.05)
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps({"pid": os.getpid(), "host": _host(), **facts}).encode())
        os.set_inheritable(handle, True)
        os.truncate(self.log, 0)

    def stop(self, grace: float = 40.0) -> bool:
        """End the daemon and every process of its session.

        Args:
            grace: Seconds that it has to end by itself before it is killed; Prefect allows
                a run 30 s to wind up.

        Returns:
            Whether it was running.

        Raises:
            EngineError: It runs on another machine that shares this lake.
        """
        facts = self.running()
        if facts is None:
            return False
        if facts["host"] != _host():
            raise EngineError(
                f"the {self.name} of this lake runs on {facts['host']}, not here",
                hint=f"run `limelight down` on {facts['host']}",
            )
        session = facts["pid"]
        leader = Process.find(session)
        with suppress(ProcessLookupError):  # it may be ending in this moment
            os.kill(session, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while self._locked() and time.monotonic() < deadline:
            time.sleep(0.05)
        kill_session(session, leader.start_time if leader else 0)
        return True

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.rstrip().splitlines()[-lines:])

    def _locked(self) -> bool:
        try:
            handle = os.open(self.record, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(handle, fcntl.LOCK_SH)
        finally:
            os.close(handle)


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _host() -> str:
    return socket.gethostname()
