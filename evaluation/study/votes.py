"""The votes of a study: one line each, appended, and on the disk before it is acknowledged.

Lines are never rewritten. A line that was torn by a crash was not acknowledged; it is passed over,
and told. A vote is known by its participant, cell and question: the same again changes nothing,
and another score is a change of mind, where the last one counts.
"""

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, NamedTuple, Self

from evaluation.study.plan import SCORES, QuestionKey
from infra.errors import UsageError
from infra.faults import fault_point
from infra.storage import fsync_path, lake_errors

VOTES_FILE = "votes.jsonl"
"""In the run folder."""


class VoteKey(NamedTuple):
    """What a vote is known by."""

    participant: str
    cell: str
    question: QuestionKey


@dataclass
class Votes:
    """What a file of votes says.

    Attributes:
        scores: 1 to 5, by participant, cell and question.
        participants: Numbers of the participants, by name, counted from 0 as they began.
        design: What the study began with: ``seed`` and ``trials``; empty before it begins.
        damaged: Numbers of the lines that cannot be understood, counted from 1.
    """

    scores: dict[VoteKey, int] = field(default_factory=dict)
    participants: dict[str, int] = field(default_factory=dict)
    design: dict[str, int | None] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)

    def take(self, row: Mapping[str, Any]) -> None:
        """Add what a line says.

        Raises:
            ValueError: It is none of ours; nothing was changed.
        """
        match row:
            case {"kind": "study", "seed": int(seed), "trials": int() | None as trials}:
                self.design = {"seed": seed, "trials": trials}
            case {"kind": "participant", "name": str(name), "number": int(number)}:
                self.participants[name] = number
            case {
                "kind": "vote",
                "participant": str(name),
                "cell": str(cell),
                "question": "light" | "identity" | "quality" as question,
                "score": int(score),
            } if score in SCORES:
                self.scores[VoteKey(name, cell, question)] = score
            case _:
                raise ValueError(f"neither a study nor a participant nor a vote: {row!r}")


def read_votes(path: Path) -> Votes:
    """Read a file of votes, which a study may be adding to meanwhile.

    Args:
        path: A ``votes.jsonl``; where there is none, nobody has voted.
    """
    votes = Votes()
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, line in enumerate(lines, 1):
        if line:
            try:
                votes.take(json.loads(line))
            except (ValueError, RecursionError):
                votes.damaged.append(number)
    return votes


class VoteStore:
    """A file of votes that is open for more. Safe between threads; one process at a time.

    Args:
        path: The ``votes.jsonl``; made if missing, in a folder that is there.

    Attributes:
        votes: What is in the file. Read it freely; change it by the methods alone.

    Raises:
        UsageError: Another process has it open.
        LakeError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        with lake_errors(path):
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._file)
                raise UsageError(
                    f"{path} is open in another study",
                    hint="use that one's page, or stop it first",
                ) from error
            fsync_path(path.parent)
            size = os.fstat(self._file).st_size
            self._whole = not size or os.pread(self._file, 1, size - 1) == b"\n"
        self.votes = read_votes(path)

    def begin(self, *, seed: int | None = None, trials: int | None = None) -> dict[str, int | None]:
        """Fix the study's design by its first line, or go on with the one that it has.

        Args:
            seed: Of the plan; 0 for a new study without.
            trials: Of each participant; all for a new study without.

        Returns:
            ``seed`` and ``trials``.

        Raises:
            UsageError: It began with another.
        """
        with self._lock:
            if not self.votes.design:
                self._append({"kind": "study", "seed": seed or 0, "trials": trials})
            for key, value in (("seed", seed), ("trials", trials)):
                began = self.votes.design[key]
                if value not in (None, began):
                    raise UsageError(
                        f"this study began with {key} {'all' if began is None else began},"
                        f" not {value}",
                        hint=f"leave the option out, or move {self.path} away to begin anew",
                    )
            return dict(self.votes.design)

    def join(self, name: str) -> int:
        """The number of a participant, who is written down when new."""
        with self._lock:
            if name not in self.votes.participants:
                number = max(self.votes.participants.values(), default=-1) + 1
                self._append({"kind": "participant", "name": name, "number": number})
            return self.votes.participants[name]

    def vote(self, key: VoteKey, score: int) -> bool:
        """Write a vote down; once this returns, it outlives a crash.

        Returns:
            Whether anything was new.

        Raises:
            ValueError: The score is none of 1 to 5, or nobody asked that question.
            LakeError: It could not be written, and does not count.
        """
        with self._lock:
            if self.votes.scores.get(key) == score:
                return False
            at = datetime.now(UTC).isoformat(timespec="seconds")
            self._append({"kind": "vote", **key._asdict(), "score": score, "at": at})
            return True

    def close(self) -> None:
        """Let another process have the file."""
        with self._lock:
            os.close(self._file)
            self._file = -1  # the number may soon be another file's

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _append(self, row: Mapping[str, Any]) -> None:
        Votes().take(row)  # what could not be read again is not written
        line = json.dumps(row).encode() + b"\n"
        with lake_errors(self.path):
            fault_point("votes.write.before")
            # After a torn line, whole ones must not become its end.
            data = line if self._whole else b"\n" + line
            self._whole = False
            if os.write(self._file, data) != len(data):
                raise OSError(errno.ENOSPC, "the line was cut short", str(self.path))
            fault_point("votes.write.after")
            self._whole = True
            os.fsync(self._file)
            fault_point("votes.fsync.after")
        self.votes.take(row)
