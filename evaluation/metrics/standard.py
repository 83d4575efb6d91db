"""Whether a standard estimator can run here; an embedded one takes its place otherwise."""

from collections.abc import Iterable
from importlib.util import find_spec

from infra.weights import identity, standing

TORCH = ("torch", "timm", "safetensors")
"""What our torch networks import."""


def at_hand(weights: Iterable[str], packages: Iterable[str] = TORCH) -> bool:
    """Whether weights are on this machine, and packages installed; loads and fetches nothing.

    Args:
        weights: Names in the weights registry.
        packages: Names of modules.
    """
    return all(find_spec(name) for name in packages) and all(
        standing(name).state == "present" for name in weights
    )


def identities(weights: Iterable[str]) -> dict[str, str]:
    """What each weight is, by name, as `MetricInfo.weights` tells it."""
    return {name: identity(name) for name in weights}
