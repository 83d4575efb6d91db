"""The build's config as a TOML file that explains itself."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from flows.config import BuildConfig

WIDTH = 96


def default_toml() -> str:
    """Every table and key with its default, what it means, and what is allowed."""
    lines: list[str] = []
    for name, table in BuildConfig():
        lines += _table(name, table)
    return "\n".join(lines)


def _table(name: str, table: BaseModel) -> Iterator[str]:
    """A table, then those inside it, such as the options of one model."""
    yield f"[{name}]"
    yield from _keys(type(table))
    yield ""
    for key, value in table:
        if isinstance(value, BaseModel):
            yield from _table(f"{name}.{key}", value)


def _keys(model: type[BaseModel]) -> Iterator[str]:
    defaults = model()
    for name, field in model.model_fields.items():
        if isinstance(getattr(defaults, name), BaseModel):
            continue
        text = " ".join((field.description or "").split())
        allowed = _allowed(model, name)
        yield from _comment(f"{text} {allowed}".strip())
        value = getattr(defaults, name)
        if field.default is None or isinstance(value, dict):
            yield f"# {name} ="
        else:
            yield f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    # JSON's numbers, booleans, strings and flat lists are TOML's too.
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _allowed(model: type[BaseModel], name: str) -> str:
    schema = model.model_json_schema()["properties"][name]
    options = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if options:
        return f"({' | '.join(_toml(option) for option in options)})"
    schema = next((s for s in schema.get("anyOf", []) if "minimum" in s or "maximum" in s), schema)
    bounds = (
        ("minimum", "at least"),
        ("exclusiveMinimum", "more than"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "less than"),
    )
    words = [f"{word} {schema[key]:g}" for key, word in bounds if key in schema]
    return f"({', '.join(words)})" if words else ""


def _comment(text: str) -> Iterator[str]:
    line = "#"
    for word in text.split():
        if len(line) + len(word) >= WIDTH:
            yield line
            line = "#"
        line += f" {word}"
    if line != "#":
        yield line
