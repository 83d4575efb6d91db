"""Following a run from outside, by the lines that its rank 0 adds to ``log.jsonl``."""

import os
from threading import Lock
from time import monotonic
from typing import Any

from training.loop.folder import RunFolder, parse_line

PERIOD = 0.5
"""Seconds that what was read stays new enough."""


class Follower:
    """What a run's log says, read as it grows; any thread may ask.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.log
        self._lock = Lock()
        self._read = float("-inf")
        self._inode = 0
        self._offset = 0
        self._first: dict[str, dict[str, Any]] = {}
        self._last: dict[str, dict[str, Any]] = {}

    def first(self, kind: str) -> dict[str, Any]:
        """The first line of a kind (``step``, ``validation``); empty if there is none."""
        with self._lock:
            self._refresh()
            return self._first.get(kind, {})

    def last(self, kind: str) -> dict[str, Any]:
        """The last line of a kind; empty if there is none."""
        with self._lock:
            self._refresh()
            return self._last.get(kind, {})

    def _refresh(self) -> None:
        if monotonic() - self._read < PERIOD:
            return
        self._read = monotonic()
        try:
            log = self._path.open("rb")
        except FileNotFoundError:
            return
        with log:
            # A run that goes on from a checkpoint first puts a shorter log in the place of this.
            inode = os.fstat(log.fileno()).st_ino
            if inode != self._inode or log.seek(0, 2) < self._offset:
                self._inode, self._offset = inode, 0
                self._first, self._last = {}, {}
            log.seek(self._offset)
            whole, _, _ = log.read().rpartition(b"\n")
        self._offset += len(whole) + bool(whole)
        for line in whole.splitlines():
            if row := parse_line(line):
                self._first.setdefault(row["kind"], row)
                self._last[row["kind"]] = row
