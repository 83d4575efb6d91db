"""Reading, comparing and writing recipes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from infra.errors import UsageError
from infra.tables import override, parse_table, read_toml
from infra.toml_text import explained_toml, meaning, plain_toml
from training.recipe.tables import Recipe

FOLDER = Path(__file__).parent
RECIPES = ("lcvd-paper", "lcvd", "lcvd-tiny")
"""Recipes that come with Limelight."""

_BASE = "base"
_EXAMPLE = "run.steps=500"


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by its name, or of a TOML file.

    A file says what it changes; the rest is as in the recipe that its key ``base`` names
    (``lcvd``, if it has none).

    Args:
        source: One of `RECIPES`, or a file's path.
        overrides: ``table.key=value`` each, the value as TOML has it (quotes may be left out).

    Raises:
        UsageError: No such recipe or file, an unknown key, or a value that is not allowed.
    """
    values = _values(source)
    for each in overrides:
        override(values, each, kind="recipe", example=_EXAMPLE)
    return parse_table(Recipe, values, str(source))


def override_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe already in hand, with what `load_recipe`'s ``overrides`` change of it.

    Raises:
        UsageError: An unknown key, or a value that is not allowed.
    """
    values = recipe.model_dump(mode="json")
    for each in overrides:
        override(values, each, kind="recipe", example=_EXAMPLE)
    return parse_table(Recipe, values, recipe.name)


def parse_recipe(values: Mapping[str, Any], origin: str) -> Recipe:
    """A recipe out of tables that hold all of it, such as a checkpoint's."""
    return parse_table(Recipe, values, origin)


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as a TOML file that explains itself: every key, what it means, what is allowed."""
    return explained_toml(recipe)


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe, all of its keys, so that `load_recipe` gives it again."""
    path.write_text(plain_toml(recipe), encoding="utf-8")


def differences(recipes: Sequence[Recipe]) -> list[tuple[str, list[Any], str]]:
    """Where recipes differ.

    Returns:
        For each key on which they do not all agree: its name (``table.key``), each recipe's
        value, and what it means.
    """
    rows = []
    for name, model, field in _fields(Recipe):
        values = [_value(recipe, name) for recipe in recipes]
        if any(value != values[0] for value in values) and name != "name":
            rows.append((name, values, meaning(model, field)))
    return rows


def _values(source: str | Path) -> dict[str, Any]:
    named = str(source) in RECIPES
    path = FOLDER / f"{source}.toml" if named else Path(source)
    if not named and not path.exists():
        raise UsageError(
            f"no recipe is called {str(source)!r}, and there is no such file;"
            f" recipes are {', '.join(RECIPES)}",
            hint="print one to start from: limelight train --explain --recipe lcvd",
        )
    values = read_toml(path, "recipe")
    base = values.pop(_BASE, None)
    if not named:
        values.setdefault("name", path.stem)
    if base is None:
        return values
    if base not in RECIPES:
        raise UsageError(f"{path}: base = {base!r} is no recipe; allowed are {', '.join(RECIPES)}")
    return _merged(_values(base), values)


def _merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        deep = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if deep else value
    return merged


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """Every key: its full name, the table that it is in, and its name there."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _fields(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", model, name


def _value(recipe: Recipe, name: str) -> Any:
    value: Any = recipe
    for part in name.split("."):
        value = getattr(value, part)
    return value
