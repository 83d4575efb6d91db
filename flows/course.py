"""The course of a training run, as reporters and terminals show it while it is under way."""

from dataclasses import dataclass
from typing import Any

from training.launch.follow import Follower
from training.loop.folder import RunFolder

FIGURES = ("loss", "grad_norm", "rate", "clips_per_second", "wait", "mfu")
"""Of a step's figures, those that people follow, where a run has them."""


@dataclass
class Stretch:
    """Work that comes before the steps, and is counted by itself.

    Attributes:
        words: What it is.
        total: All of it; 0 while that is not known.
        finished: How much of it is done.
    """

    words: str
    total: int = 0
    finished: int = 0


class Course:
    """How far a run is; any thread may ask.

    Args:
        folder: The run's.
        steps: Steps that there are to be.
    """

    def __init__(self, folder: RunFolder, steps: int) -> None:
        self._log = Follower(folder)
        self._steps = steps
        self._stretch: Stretch | None = Stretch("starting")

    def work(self, words: str) -> Stretch:
        """Say that something else than steps is being done, to be counted in what is returned."""
        self._stretch = Stretch(words)
        return self._stretch

    def train(self) -> None:
        """Say that the ranks are at work."""
        self._stretch = None

    @property
    def total(self) -> int:
        """All there is to do; 0 while that is not known."""
        return self._stretch.total if self._stretch else self._steps

    @property
    def finished(self) -> int:
        """How much of it is done."""
        return self._stretch.finished if self._stretch else int(self.last("step").get("step", 0))

    @property
    def step(self) -> str:
        """What the run is at, in words."""
        if self._stretch:
            return self._stretch.words
        return "training" if self.last("step") else "loading the model"

    def first(self, kind: str) -> dict[str, Any]:
        """The figures of the first line of a kind in the log: ``step``, ``validation``."""
        return self._log.first(kind)

    def last(self, kind: str) -> dict[str, Any]:
        """The figures of the last line of a kind."""
        return self._log.last(kind)

    def remaining(self) -> float | None:
        """Seconds that the steps to come will take, if all are like the last one."""
        last = self.last("step")
        if self._stretch or "seconds" not in last:
            return None
        return float(last["seconds"]) * (self._steps - self.finished)

    def rows(self) -> list[dict[str, object]]:
        """A table: the first and the last step, and the first and last validation."""
        told = [
            {"at": f"{kind} {row['step']}", **{name: row.get(name, "") for name in FIGURES}}
            for kind in ("step", "validation")
            for row in _unlike(self.first(kind), self.last(kind))
        ]
        return told or [{"at": self.step, **dict.fromkeys(FIGURES, "")}]


def _unlike(first: dict[str, Any], last: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [first] if first == last else [first, last]
    return [row for row in rows if row]
