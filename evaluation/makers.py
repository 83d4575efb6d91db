"""How to make a method or a metric in another process: told in JSON, made there."""

from importlib import import_module
from typing import Any, TypedDict


class Maker(TypedDict):
    """A callable, and what it is called with.

    Attributes:
        factory: ``"package.module:callable"``.
        arguments: Keyword arguments, of JSON types.
    """

    factory: str
    arguments: dict[str, Any]


def made(maker: Maker) -> Any:
    """What the factory makes.

    Raises:
        ImportError: There is no such module here.
        AttributeError: The module has no such callable.
    """
    module, _, name = maker["factory"].partition(":")
    return getattr(import_module(module), name)(**maker["arguments"])
