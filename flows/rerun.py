"""Choosing what is to be computed again, and saying so in the one way there is: rows."""

from enum import StrEnum
from typing import Any

import pyarrow.compute as pc

from catalog.lake import Lake
from catalog.members import Recipe, read_members
from catalog.outcomes import Outcome
from catalog.query import query
from flows.missing import State
from infra.errors import UsageError
from stages.registry import fingerprints

_COLUMNS = ["clip", "stage", "fingerprint", "status"]


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
    computes what is missing for the current fingerprints anyway. They are only counted.

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
        UsageError: No such stage, the condition is not SQL, or there is nothing for it to pick.
    """
    stages = config.stages()
    current = fingerprints(stages)
    names = list(current)
    if stage and stage not in names:
        raise UsageError(f"no stage is called {stage!r}; the stages are {', '.join(names)}")
    wanted = [stage] if stage else names
    members = [member.clip for member in read_members(lake, recipe.name)]
    if only is Only.STALE:
        if where:
            raise UsageError(
                "--where picks among outcomes that count, and none that is stale does",
                hint="leave --where out: every stale outcome is computed",
            )
        state = State.load(lake.outcomes, current, members, stages)
        return int(state.runnable(stages)[:, [names.index(name) for name in wanted]].sum())
    chosen = lake.outcomes.latest({name: current[name] for name in wanted}, members, _COLUMNS)
    if only is not Only.ALL:
        chosen = chosen.filter(pc.field("status") == only.value)
    if where:
        keys = ", ".join(_COLUMNS[:3])
        allowed = query(lake, f"select distinct {keys} from outcomes where ({where})")
        chosen = chosen.join(allowed, _COLUMNS[:3], join_type="inner")
    lake.outcomes.void([Outcome(**row) for row in chosen.to_pylist()])
    return int(chosen.num_rows)
