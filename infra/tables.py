"""TOML files that people write: validated; errors say file, key, value and what is allowed.

A file is described by a model of nested frozen tables; the docstring under each field is what
the file's readers are told of it.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.errors import UsageError


class Table(BaseModel):
    """Base of every table: frozen, strict about unknown keys, its numbers finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


T = TypeVar("T", bound=BaseModel)


def read_toml(path: Path, kind: str = "config") -> dict[str, Any]:
    """The tables of a TOML file.

    Args:
        path: The file.
        kind: What it is, in words for an error.

    Raises:
        UsageError: Not readable, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the {kind} {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def override(values: dict[str, Any], text: str, *, kind: str, example: str) -> None:
    """Change one key of tables, as somebody asks for on the command line.

    Args:
        values: The tables; changed in place.
        text: ``key=value`` or ``table.key=value``, the value as TOML has it (quotes may be left
            out).
        kind: What the tables are, in a word for an error.
        example: An override that may be written, for an error.

    Raises:
        UsageError: It is none, or goes through something that is no table.
    """
    name, equals, said = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{text!r} is no override", hint=f"write table.key=value: {example}")
    *tables, key = name.strip().split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise UsageError(f"{text!r}: {table} is no table of a {kind}")
    try:
        values[key] = tomllib.loads(f"value = {said.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        values[key] = said.strip()


def parse_table(model: type[T], values: Mapping[str, Any], origin: str) -> T:
    """Validate tables; ``origin`` names them in errors.

    Raises:
        UsageError: An unknown key, or a value that is not allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = (_explain(model, problem, origin) for problem in error.errors())
        raise UsageError("\n".join(lines)) from error


def _explain(model: type[BaseModel], problem: Any, origin: str) -> str:
    """One line of a validation error: file, key, value, what is allowed."""
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        allowed = ", ".join(_keys_at(model, path[:-1])) or "nothing"
        return f"{origin}: unknown key {key!r}; allowed here: {allowed}"
    if problem["type"] == "value_error" and isinstance(problem["input"], Mapping):
        # A rule about several keys of a table: its words name them.
        return f"{origin}: {f'[{key}]: ' if key else ''}{problem['ctx']['error']}"
    return f"{origin}: {key} = {problem['input']!r} is not allowed: {problem['msg']}"


def _keys_at(model: Any, path: list[str]) -> list[str]:
    """Keys that the table at ``path`` may have."""
    for part in path:
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return sorted(model.model_fields)
