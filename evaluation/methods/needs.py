"""What a method needs of the machine, and the words in which it says that it has not."""

from collections.abc import Iterable
from importlib.util import find_spec

from infra import weights

_HINT = "pip install 'limelight[models,train]'"


def lacking(packages: Iterable[str], names: Iterable[str]) -> str:
    """What is missing, in a sentence; empty where nothing is. Imports and loads nothing.

    Args:
        packages: Modules that are imported.
        names: Weights that are loaded. What is fetched at its first use is never missing.

    Raises:
        UsageError: No weight has one of the names.
    """
    absent = [name for name in dict.fromkeys(packages) if find_spec(name) is None]
    if absent:
        return f"it needs {', '.join(absent)}, not installed here: {_HINT}"
    standings = [weights.standing(name) for name in dict.fromkeys(names)]
    missing = [
        each.weight.name
        for each in standings
        if each.state != "present" and not each.weight.embedded
    ]
    if missing:
        listed = ", ".join(missing)
        return f"it needs the weights {listed}: limelight weights pull {' '.join(missing)}"
    return ""
