"""Where the builds of a lake stand, read from its tables alone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from catalog.lake import Lake
from catalog.members import build_names, member_ids, read_recipe
from infra.processes import Lease, lease_folder

TRAINING = "training"
"""What the lease of a training run says that its driver is at."""

RECENT = timedelta(seconds=60)
"""Throughput is measured over the last minute."""


@dataclass(frozen=True)
class Status:
    """Where one release stands.

    Attributes:
        name: Of the release.
        clips: Members of its latest build.
        state: ``building`` or ``idle`` (is any build at work in the lake on this machine).
        stages: A row a stage: clips by status, those not reached, frames, worker seconds,
            and the frames a second of the last minute.
    """

    name: str
    clips: int
    state: str
    stages: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "name": self.name,
            "clips": self.clips,
            "state": self.state,
            "stages": self.stages,
        }


def read_status(lake: Lake, name: str = "") -> list[Status]:
    """Status of one release, or of all.

    Raises:
        UsageError: No release has that name.
    """
    state = "building" if _building(lake) else "idle"
    return [_status(lake, each, state) for each in ([name] if name else build_names(lake))]


def _status(lake: Lake, name: str, state: str) -> Status:
    recipe = read_recipe(lake, name)
    members = member_ids(lake, name)
    since = datetime.now(UTC) - RECENT
    rows = {
        stage: {
            "stage": stage,
            "done": 0,
            "rejected": 0,
            "failed": 0,
            "quarantined": 0,
            "not reached": len(members),
            "frames": 0,
            "worker seconds": 0.0,
            "frames/s (last minute)": 0.0,
        }
        for stage in recipe.fingerprints
    }
    for count in lake.outcomes.counts(recipe.fingerprints, members, since=since):
        row: dict[str, Any] = rows[count.stage]
        row[count.status] = count.clips
        row["not reached"] -= count.clips
        row["frames"] += count.frames
        row["worker seconds"] = round(row["worker seconds"] + count.seconds, 2)
        row["frames/s (last minute)"] += round(count.recent_frames / RECENT.total_seconds(), 1)
    return Status(name, len(members), state, list(rows.values()))


def _building(lake: Lake) -> bool:
    found = (Lease.read(path) for path in lease_folder(lake.root).glob("*.json"))
    return any(lease is not None and lease.held and lease.work != TRAINING for lease in found)
