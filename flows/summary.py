"""What a build came to: the numbers that the command line, Prefect and schedulers show."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from catalog.release import Release
from catalog.verdicts import verdict
from flows.builder import Build

SHOWN = 100
"""So many clips that were not kept are named with their reasons."""


@dataclass(frozen=True)
class Summary:
    """A finished build.

    Attributes:
        name: Of the release.
        version: Of the release; empty where nothing was kept.
        digest: Of the release; empty where nothing was kept.
        path: Folder of the release.
        clips: Members of the build.
        verdicts: Clips by verdict: ``done`` (kept), ``rejected``, ``failed``, ``quarantined``,
            ``pending``.
        computed: Outcomes that this build computed, by stage; empty when all was there.
        stages: A row a stage, as in `flows.tally.Tally.rows`.
        turned_down: Reasons of clips that were not kept: label, verdict, stage and reason
            (the first ``SHOWN``, by label).
        seconds: Wall time.
    """

    name: str
    version: str
    digest: str
    path: str
    clips: int
    verdicts: dict[str, int]
    computed: dict[str, int]
    stages: list[dict[str, Any]]
    turned_down: list[dict[str, str]]
    seconds: float


def summarise(build: Build, release: Release | None, seconds: float) -> Summary:
    """Sum up a build whose steps are over."""
    names = [stage.name for stage in build.stages]
    ended = build.state().verdicts().tolist()
    ends = zip(build.members, ended, strict=True)
    others = sorted((member for member, end in ends if end != "done"), key=lambda m: m.label)
    outcomes = build.lake.outcomes.of([m.clip for m in others[:SHOWN]], build.fingerprints)
    turned_down = []
    for member in others[:SHOWN]:
        status, stage, reason = verdict(outcomes[member.clip], names)
        turned_down.append(
            {"label": member.label, "verdict": status, "stage": stage, "reason": reason}
        )
    return Summary(
        name=build.request.name,
        version=release.version if release else "",
        digest=release.digest if release else "",
        path=str(release.path) if release else "",
        clips=len(build.members),
        verdicts=dict(Counter(ended)),
        computed=build.tally.computed(),
        stages=build.tally.rows(),
        turned_down=turned_down,
        seconds=round(seconds, 2),
    )
