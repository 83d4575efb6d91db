"""Reading and writing protocols."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from evaluation.protocols.tables import Protocol
from infra.errors import UsageError
from infra.storage import write_atomic
from infra.tables import override, parse_table, read_toml
from infra.toml_text import explained_toml, plain_toml

FOLDER = Path(__file__).parent

PROTOCOLS = ("hdtf", "ffhq", "cross-identity", "ablation-adapters", "ablation-guidance", "demo")
"""Protocols that come with Limelight."""


def load_protocol(source: str | Path, overrides: Sequence[str] = ()) -> Protocol:
    """A protocol by its name, or of a TOML file.

    One that overrides change is no longer the published one: it loses `Protocol.published`, unless
    they only say whose clips are taken, which methods are judged, how lights are found, or another
    seed.

    Args:
        source: One of `PROTOCOLS`, or a file's path. A file that gives no name is called as it is.
        overrides: ``key=value`` or ``table.key=value`` each, the value as TOML has it (quotes may
            be left out).

    Raises:
        UsageError: No such protocol or file, an unknown key, or a value that is not allowed.
    """
    named = str(source) in PROTOCOLS
    path = FOLDER / f"{source}.toml" if named else Path(source)
    if not named and not path.exists():
        raise UsageError(
            f"no protocol is called {str(source)!r}, and there is no such file; protocols are"
            f" {', '.join(PROTOCOLS)}",
            hint=f"start from a copy of one: {FOLDER / 'demo.toml'}",
        )
    values = read_toml(path, "protocol")
    if not named:
        values.setdefault("name", path.stem.lower())
    told = deepcopy(values)
    for each in overrides:
        override(told, each, kind="protocol", example="cut.frames=24")
    protocol = parse_protocol(told, str(source))
    if not protocol.published or told["published"] != values.get("published"):
        return protocol
    if _ground(protocol) == _ground(parse_protocol(values, str(source))):
        return protocol
    return protocol.model_copy(update={"published": ""})


def parse_protocol(values: Mapping[str, Any], origin: str) -> Protocol:
    """A protocol out of tables that hold it, such as a record's (`Protocol.settings`).

    Args:
        values: The tables.
        origin: What they are called in errors.

    Raises:
        UsageError: An unknown key, or a value that is not allowed.
    """
    return parse_table(Protocol, values, origin)


def protocol_toml(protocol: Protocol) -> str:
    """The protocol as a TOML file that explains itself: every key, and what is allowed."""
    return explained_toml(protocol)


def write_protocol(protocol: Protocol, path: Path) -> None:
    """Write a protocol, all of its keys, so that `load_protocol` gives it again.

    Raises:
        LakeError: The disk is full or read-only.
    """
    write_atomic(path, plain_toml(protocol).encode(), point="benchmark.protocol")


def _ground(protocol: Protocol) -> dict[str, Any]:
    """What makes its numbers comparable: all but whose clips, which methods, and which draw."""
    free = dict.fromkeys(
        ("name", "title", "about", "published", "seed", "methods", "variants"), True
    )
    given = {"release", "version", "folder", "layout"}
    return protocol.model_dump(exclude={**free, "source": given, "lights": {"geometry"}})
