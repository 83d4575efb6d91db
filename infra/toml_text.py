"""Tables written as TOML: bare, or explaining themselves."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

WIDTH = 96


def explained_toml(values: BaseModel) -> str:
    """Every table and key with its value, what it means, and what is allowed.

    Args:
        values: Nested tables; keys before tables.
    """
    return "\n".join(_table("", values, explain=True)).strip() + "\n"


def plain_toml(values: BaseModel) -> str:
    """Every table and key with its value, and no more."""
    return "\n".join(_table("", values, explain=False)).strip() + "\n"


def meaning(model: type[BaseModel], name: str) -> str:
    """What a field means, in one paragraph, with what it may be."""
    text = " ".join((model.model_fields[name].description or "").split())
    return f"{text} {_allowed(model, name)}".strip()


def _table(name: str, table: BaseModel, *, explain: bool) -> Iterator[str]:
    """A table, then those inside it, such as the options of one model."""
    keys = list(_keys(table, explain=explain))
    if name:
        yield f"[{name}]"
    if name or keys:
        yield from keys
        yield ""
    for key, value in table:
        if isinstance(value, BaseModel):
            yield from _table(f"{name}.{key}" if name else key, value, explain=explain)


def _keys(table: BaseModel, *, explain: bool) -> Iterator[str]:
    model = type(table)
    for name, field in model.model_fields.items():
        value = getattr(table, name)
        if isinstance(value, BaseModel):
            continue
        if explain:
            yield from _comment(meaning(model, name))
        if explain and (field.default is None or value == {}):
            # Not written, so that what decides it when it is left out goes on deciding it.
            yield f"# {name} ="
        elif value is not None:
            yield f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(str(key))} = {_toml(each)}" for key, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    # JSON's numbers, booleans, strings and flat lists are TOML's too.
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


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
