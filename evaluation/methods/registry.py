"""The methods by name; a new one is a new file and a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.methods.base import Method, MethodOptions
from evaluation.methods.command import Command, CommandOptions
from evaluation.methods.copy import Copy, CopyOptions
from evaluation.methods.dpr import Dpr, DprOptions
from evaluation.methods.folder import Folder, FolderOptions
from evaluation.methods.lcvd import Lcvd, LcvdOptions
from evaluation.methods.ratio import Ratio, RatioOptions
from infra.errors import UsageError
from infra.tables import parse_table


@dataclass(frozen=True)
class MethodEntry:
    """A method on offer.

    Attributes:
        make: The method of a table of options.
        options: What may be in the table.
    """

    make: Callable[[Any], Method]
    options: type[MethodOptions]


METHODS: Mapping[str, MethodEntry] = {
    Copy.name: MethodEntry(Copy, CopyOptions),
    Ratio.name: MethodEntry(Ratio, RatioOptions),
    Dpr.name: MethodEntry(Dpr, DprOptions),
    Lcvd.name: MethodEntry(Lcvd, LcvdOptions),
    Folder.name: MethodEntry(Folder, FolderOptions),
    Command.name: MethodEntry(Command, CommandOptions),
}
"""Every kind of method."""


def make_method(name: str, options: Mapping[str, Any] | None = None, origin: str = "") -> Method:
    """A method by its name and options: all that a worker is told of it.

    Args:
        name: One of `METHODS`.
        options: JSON types; what is left out is as the method's table says.
        origin: Where they were written, for errors; without, the method's name.

    Raises:
        UsageError: There is no such method, or it has no such option or value.
    """
    entry = _entry(name, origin)
    return entry.make(_table(entry, name, options, origin))


def pinned(name: str, options: Mapping[str, Any], origin: str = "") -> dict[str, Any]:
    """The options that a method is to be given in every worker, in JSON types.

    Paths are absolute; what stood for whichever model is the newest names that model. Where there
    is none it stays as it was: the method itself says what is missing.

    Args:
        name: One of `METHODS`.
        options: As for `make_method`.
        origin: As for `make_method`.

    Raises:
        UsageError: There is no such method, or it has no such option or value.
    """
    table = _table(_entry(name, origin), name, options, origin).pinned()
    return table.model_dump(mode="json", exclude_unset=True)


def shown(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as a record tells of them: those that were chosen, in JSON types.

    Raises:
        UsageError: There is no such method, or it has no such option or value.
    """
    table = _table(_entry(name, ""), name, options, "")
    return table.model_dump(mode="json", exclude_unset=True)


def _entry(name: str, origin: str) -> MethodEntry:
    try:
        return METHODS[name]
    except KeyError:
        raise UsageError(
            f"{origin + ': ' if origin else ''}no method is called {name!r}",
            hint=f"there are {', '.join(METHODS)}",
        ) from None


def _table(
    entry: MethodEntry, name: str, options: Mapping[str, Any] | None, origin: str
) -> MethodOptions:
    return parse_table(entry.options, options or {}, origin or f"the method {name}")
