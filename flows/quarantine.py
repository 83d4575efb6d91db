"""Clips that are set aside: finding them, running one in the open, deciding about it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pyarrow.compute as pc

from catalog.lake import Lake
from catalog.members import read_members, read_recipe
from catalog.outcomes import Outcome
from flows.config import parse_config
from infra.errors import UsageError
from stages.registry import fingerprints
from stages.worker import ClipWorker, Task, made_of, stage_entry


@dataclass(frozen=True)
class Quarantined:
    """A clip that is set aside, and the outcome that says why."""

    label: str
    outcome: Outcome

    def row(self) -> dict[str, Any]:
        """The line that people see."""
        o = self.outcome
        return {
            "clip": o.clip[:12],
            "label": self.label,
            "stage": o.stage,
            "error": o.error,
            "attempts": o.attempts,
            "reason": o.reason,
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON types."""
        return {"label": self.label, **asdict(self.outcome)}

    def dropped(self) -> Outcome:
        """The outcome that turns the clip down, for as long as the stage's fingerprint stands."""
        return replace(
            self.outcome,
            status="rejected",
            reason=f"dropped by hand after: {self.outcome.reason}",
            finished_at=datetime.now(UTC),
        )


def find(lake: Lake, name: str) -> list[Quarantined]:
    """The quarantined clips of a release, by label."""
    current = read_recipe(lake, name).fingerprints
    labels = {member.clip: member.label for member in read_members(lake, name)}
    standing = lake.outcomes.latest(current, list(labels), ("clip", "status"))
    aside = standing.filter(pc.field("status") == "quarantined")["clip"].unique().to_pylist()
    outcomes = lake.outcomes.of(aside, current)
    found = [
        Quarantined(labels[clip], outcome)
        for clip, by_stage in outcomes.items()
        for outcome in by_stage.values()
        if outcome.status == "quarantined"
    ]
    return sorted(found, key=lambda entry: (entry.label, entry.outcome.stage))


def reproduce(lake: Lake, name: str, clip: str, stage: str) -> Iterator[Outcome]:
    """Run a clip up to ``stage`` in this process; no outcome is recorded.

    Args:
        lake: Holds the clip.
        name: Of a release that it belongs to.
        clip: Its id, or the beginning of it.
        stage: The last stage to run; those before it run only where they are not done.

    Raises:
        UsageError: No such stage or clip.
    """
    recipe = read_recipe(lake, name)
    stages = parse_config(recipe.config, f"the recipe of {name}").stages()
    current = fingerprints(stages)
    if stage not in current:
        raise UsageError(f"no stage is called {stage!r}; the stages are {', '.join(current)}")
    ids = [m.clip for m in read_members(lake, name) if m.clip.startswith(clip)]
    if len(ids) != 1:
        raise UsageError(f"{len(ids)} clips of {name} begin with {clip!r}")
    known = lake.outcomes.of(ids, current)[ids[0]]
    done = {name: made_of(o) for name, o in known.items() if o.status == "done" and name != stage}
    names = list(current)[: list(current).index(stage) + 1]
    # A clip may have been seen at several places; where it was seen last it may still be.
    place = max(lake.clips.rows(ids).to_pylist(), key=lambda row: row["added_at"])
    run = f"reproduce-{uuid4().hex}"
    worker = ClipWorker(
        lake=str(lake.root),
        run=run,
        stages=[stage_entry(s, current[s.name]) for s in stages],
        frame_bytes=1 << 30,
    )
    task: Task = {
        "clip": ids[0],
        "uri": place["uri"],
        "stages": [name for name in names if name not in done],
        "done": done,
    }
    try:
        yield from worker.run(task, note=lambda _: None)
    finally:
        worker.close()
        lake.discard_scratch(run)
