"""What became of a clip, all stages taken together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from catalog.outcomes import Outcome

WORDS = {
    "done": "kept",
    "rejected": "rejected",
    "failed": "failed",
    "quarantined": "quarantined",
    "pending": "not finished",
}
"""Verdicts in the order in which people want to see them, and what to call them."""


class Verdict(NamedTuple):
    """How a clip ended.

    Attributes:
        status: A key of ``WORDS``.
        stage: The stage that decided; the last one for a kept clip.
        reason: Why, in words; empty for a kept clip.
    """

    status: str
    stage: str
    reason: str


def verdict(outcomes: Mapping[str, Outcome], stages: Sequence[str]) -> Verdict:
    """The verdict on one clip.

    Args:
        outcomes: Its outcomes that count, by stage.
        stages: Names of all stages, in order.
    """
    for stage in stages:
        outcome = outcomes.get(stage)
        if outcome is not None and outcome.status != "done":
            return Verdict(outcome.status, stage, outcome.reason)
    for stage in stages:
        if stage not in outcomes:
            return Verdict("pending", stage, "")
    return Verdict("done", stages[-1], "")
