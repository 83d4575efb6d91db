"""How errors speak of files that are not trusted: never in the file's own letters."""

from collections.abc import Iterable
from pathlib import Path

from infra.errors import WeightsError


class RefusedError(Exception):
    """A file asks for something that no weight needs."""


def shown(text: str, most: int = 60) -> str:
    """Text out of a file, fit for a terminal: no control characters, and not long."""
    plain = ascii(text[: most + 1])[1:-1]
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."


def some(names: Iterable[object]) -> str:
    """Keys of a file's dictionary, as far as they are worth reading."""
    found = [shown(name) if isinstance(name, str) else type(name).__name__ for name in names]
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return (", ".join(found[:8]) or "none") + more


def refused(path: Path, what: str) -> WeightsError:
    """The error that a file asks to run code, or for more than a weight is."""
    return WeightsError(
        f"{path.name} asks for {shown(what)}, which has no business in a weight: refused, unread",
        hint="do not use this file; take it from its publisher again",
    )


def damaged(path: Path, kind: str) -> WeightsError:
    """The error that a file is not what its name says.

    Args:
        path: The file.
        kind: What it should have been.
    """
    return WeightsError(
        f"{path.name} is damaged (perhaps cut short), or no {kind}",
        hint="take it from its publisher again",
    )
