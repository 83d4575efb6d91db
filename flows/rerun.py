"""Choosing what is to be computed again, and saying so in the one way there is: rows."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from catalog.lake import Lake
from catalog.members import Recipe, read_members
from catalog.query import query
from infra.errors import UsageError
from stages.registry import fingerprints


class Only(StrEnum):
    """Which outcomes a rerun is about."""

    FAILED = "failed"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"
    STALE = "stale"
    ALL = "all"


def void_outcomes(
    lake: Lake, recipe: Recipe, config: Any, *, stage: str, only: Only, where: str = ""
) -> int:
    """Make outcomes of a release count as never computed, so that the next build computes them.

    Stale outcomes (of another fingerprint than the current one) need no voiding: a build
    computes what is missing for the current fingerprints anyway.

    Args:
        lake: Holds them.
        recipe: Of the release.
        config: The recipe's config, parsed.
        stage: Only this stage; empty for all.
        only: Status of the outcomes.
        where: SQL condition on the columns of the view ``outcomes``; empty for all.

    Returns:
        How many outcomes will be computed again.

    Raises:
        UsageError: No such stage, or the condition is not SQL.
    """
    current = fingerprints(config.stages())
    names = list(current)
    if stage and stage not in names:
        raise UsageError(f"no stage is called {stage!r}; the stages are {', '.join(names)}")
    wanted = [stage] if stage else names
    if only is Only.STALE:
        return 0
    members = [member.clip for member in read_members(lake, recipe.name)]
    found = lake.outcomes.of(members, {name: current[name] for name in wanted})
    chosen = [
        outcome
        for by_stage in found.values()
        for outcome in by_stage.values()
        if only is Only.ALL or outcome.status == only.value
    ]
    if where:
        allowed = _matching(lake, where)
        chosen = [o for o in chosen if (o.clip, o.stage, o.fingerprint) in allowed]
    lake.outcomes.void(chosen)
    return len(chosen)


def _matching(lake: Lake, where: str) -> set[tuple[str, str, str]]:
    table = query(lake, f"select clip, stage, fingerprint from outcomes where ({where})")
    columns: Sequence[list[str]] = [
        table[name].to_pylist() for name in ("clip", "stage", "fingerprint")
    ]
    return set(zip(*columns, strict=True))
