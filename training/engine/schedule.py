"""The learning rate of each step."""

import math

from training.recipe.tables import OptimizerTable

FLOOR = 0.1
"""What a cosine schedule ends at, as a share of the rate."""


def rate(step: int, table: OptimizerTable, steps: int) -> float:
    """The learning rate of a step: a pure function, so that a run resumes by knowing its place.

    Args:
        step: Optimizer steps taken before, from 0.
        table: The recipe's.
        steps: Of the whole run.

    Returns:
        The rate. It rises in equal parts over the warm-up's steps, whose last has all of it.
    """
    if step < table.warmup:
        return table.rate * (step + 1) / table.warmup
    if table.schedule == "constant":
        return table.rate
    length = max(steps - 1 - table.warmup, 1)
    share = min((step - table.warmup) / length, 1.0)
    return table.rate * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))
