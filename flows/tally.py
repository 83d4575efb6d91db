"""What a run has done so far, as reporters and terminals show it; and a build's counters."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Protocol

from catalog.outcomes import Outcome


class Counted(Protocol):
    """What can be reported on: how much there is to do, how much is done, and a table."""

    @property
    def total(self) -> int:
        """All there is to do; 0 while that is not known."""

    @property
    def finished(self) -> int:
        """How much of it is done."""

    @property
    def step(self) -> str:
        """What the run is at, in words."""

    def rows(self) -> list[dict[str, object]]:
        """The table."""


@dataclass
class Tally:
    """What a build has done so far; every method may be called from any thread."""

    total: int = 0
    """Clips that this build has to work on."""
    finished: int = 0
    """Clips among them that it is through with."""
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Outcomes computed by this build, by (stage, status)."""
    frames: Counter[str] = field(default_factory=Counter)
    """Frames computed by this build, by stage."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Worker seconds spent by this build, by stage."""
    started: float = field(default_factory=monotonic)
    step: str = "starting"
    """What the build is at, in words."""
    _lock: Lock = field(default_factory=Lock, repr=False)

    def expect(self, clips: int) -> None:
        """Announce more clips."""
        with self._lock:
            self.total += clips

    def add(self, outcomes: Iterable[Outcome], *, clips: int = 1) -> None:
        """Count the outcomes of finished clips."""
        with self._lock:
            self.finished += clips
            for outcome in outcomes:
                self.statuses[outcome.stage, outcome.status] += 1
                self.frames[outcome.stage] += outcome.frames
                self.seconds[outcome.stage] += outcome.seconds

    def computed(self) -> dict[str, int]:
        """Outcomes that this build computed, by stage."""
        with self._lock:
            counts: Counter[str] = Counter()
            for (stage, _), number in self.statuses.items():
                counts[stage] += number
            return dict(counts)

    def rows(self) -> list[dict[str, object]]:
        """A table of it all, a row a stage, for artifacts and terminals."""
        with self._lock:
            stages = list(dict.fromkeys(stage for stage, _ in self.statuses))
            elapsed = max(monotonic() - self.started, 1e-6)
            return [
                {
                    "stage": stage,
                    **{
                        status: self.statuses[stage, status]
                        for status in ("done", "rejected", "failed", "quarantined")
                    },
                    "frames": self.frames[stage],
                    "frames/s": round(self.frames[stage] / elapsed, 1),
                    "worker seconds": round(self.seconds[stage], 2),
                }
                for stage in stages
            ]
