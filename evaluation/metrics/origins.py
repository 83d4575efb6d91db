"""What numbers come of: weights, and the code of stages that an extractor runs."""

from collections.abc import Iterable
from typing import Any

from infra.weights import identity
from stages.base import Stage


def identities(weights: Iterable[str]) -> dict[str, str]:
    """What each weight is, by name, as `MetricInfo.weights` tells it."""
    return {name: identity(name) for name in weights}


def versions(*stages: type[Stage[Any]]) -> dict[str, int]:
    """Versions of stages, by name: whose models an extractor runs, their code is its own."""
    return {stage.name: stage.version for stage in stages}
