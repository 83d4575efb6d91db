"""The run folder: what lies in it, and the few files by which others follow a run."""

import json
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from infra.errors import LakeError
from infra.storage import lake_errors, write_atomic

Reason = Literal["finished", "preempted", "stopped"]
"""Why a run ended: all steps done; told to leave by SIGTERM, after a checkpoint; an error."""


class RunFolder:
    """Names of what a run keeps, under ``<lake>/runs/<name>``; making one touches nothing.

    Attributes:
        root: The folder.
        request: ``run.json``, what was asked (see `training.loop.request`).
        recipe: ``recipe.toml``, the recipe with all of its keys.
        log: ``log.jsonl``, a line a step, validation and other event.
        tensorboard: Event files of the same.
        checkpoints: Folder of the checkpoints.
        previews: Videos and contact sheets of the validations.
        model: The finished model's folder.
        ended: ``ended.json``, there only while no rank is at work on the run.
        fit: ``fit.json``, what was found to fit into memory (see `training.engine.ladder`).
        heartbeat: Its time of change is that of the last sign of life of any rank. They take
            each step together, so that one speaks for all.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self.request = self.root / "run.json"
        self.recipe = self.root / "recipe.toml"
        self.log = self.root / "log.jsonl"
        self.tensorboard = self.root / "tensorboard"
        self.checkpoints = self.root / "checkpoints"
        self.previews = self.root / "previews"
        self.model = self.root / "model"
        self.ended = self.root / "ended.json"
        self.fit = self.root / "fit.json"
        self.heartbeat = self.root / "heartbeat"

    def beat(self) -> None:
        """Give a sign of life: the heartbeat file's time becomes now."""
        with lake_errors(self.heartbeat):
            self.heartbeat.touch()

    def begin(self) -> None:
        """Say that the run is at work: no end is written any more, and its heart beats."""
        with lake_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            self.ended.unlink(missing_ok=True)
        self.beat()

    def end(self, reason: Reason, step: int, *, message: str = "") -> None:
        """Say that the run ended, and why.

        Of several ranks that stop the first one's word stays: what follows comes of it.

        Args:
            reason: Why.
            step: Steps that were done, and saved unless it stopped.
            message: The error of a run that stopped.
        """
        if reason == "stopped" and self.ended.exists():
            return
        model = self.model.name if reason == "finished" else None
        record = {"reason": reason, "step": step, "model": model, "message": message}
        write_atomic(self.ended, (json.dumps(record) + "\n").encode(), point="run.ended")

    def ending(self) -> dict[str, Any] | None:
        """What `end` wrote; None while the run is at work, or was killed.

        Raises:
            LakeError: The file cannot be understood.
        """
        try:
            record: dict[str, Any] = json.loads(self.ended.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise LakeError(f"{self.ended} cannot be understood: {error}") from error
        return record


def read_log(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The whole lines of a log, oldest first, up to the first that is torn.

    Args:
        path: A ``log.jsonl``.
        kind: Only lines of this kind: ``start``, ``step``, ``validation``, ``lost``, ``event``.
    """
    if not path.exists():
        return []
    rows = takewhile(bool, map(parse_line, path.read_bytes().split(b"\n")[:-1]))
    return [row for row in rows if kind is None or row["kind"] == kind]


def parse_line(line: bytes) -> dict[str, Any]:
    """A line of a log; empty where it is torn: a machine went down while it was written."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) and row.keys() >= {"kind", "step"} else {}


def cut_log(path: Path, step: int) -> None:
    """Forget what a log says beyond ``step``, so that steps done again are in it once.

    Args:
        path: A ``log.jsonl``; it need not be there.
        step: Steps done by the checkpoint from which the run goes on; 0 forgets all.
    """
    kept = [row for row in read_log(path) if step and row["step"] <= step]
    text = "".join(json.dumps(row) + "\n" for row in kept)
    if not path.exists() or path.stat().st_size != len(text.encode()):
        write_atomic(path, text.encode(), point="run.log")


def age(path: Path, now: float) -> float:
    """Seconds since a file changed; infinite if it is not there."""
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
