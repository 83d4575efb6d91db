"""Recipes on a terminal: in what they differ, and what each key means."""

import json
from collections.abc import Sequence
from typing import Any

from rich.padding import Padding
from rich.text import Text

from flows.cli.common import console, emit
from training.recipe import RECIPES, Recipe, differences, load_recipe, recipe_toml


def explain(source: str, overrides: Sequence[str], *, everything: bool, as_json: bool) -> None:
    """Show in what recipes differ, or all of one.

    Args:
        source: A recipe's name, or a file; if it is none of ours it gets a column.
        overrides: Keys that are changed in it.
        everything: Print the whole recipe instead, as TOML that explains itself.
        as_json: Print one JSON document.
    """
    chosen = load_recipe(source, overrides)
    if everything:
        if as_json:
            emit(chosen.model_dump(mode="json"))
        else:
            print(recipe_toml(chosen), end="")
        return
    columns = {name: load_recipe(name) for name in RECIPES}
    if chosen != columns.get(source):
        columns[f"{chosen.name}, changed" if chosen.name in RECIPES else chosen.name] = chosen
    if as_json:
        emit(
            [
                {"key": key, **dict(zip(columns, values, strict=True)), "meaning": meaning}
                for key, values, meaning in differences(list(columns.values()))
            ]
        )
    else:
        _show(columns)


def _show(columns: dict[str, Recipe]) -> None:
    """A line of values for each key, and what it means below them."""
    found = differences(list(columns.values()))
    lines = [("", *columns), *((key, *map(_written, values)) for key, values, _ in found)]
    widths = [max(map(len, column)) + 2 for column in zip(*lines, strict=True)]
    head, *rows = (
        "".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    console.print(Text(head.rstrip(), style="bold"), soft_wrap=True)
    for row, (_, _, meaning) in zip(rows, found, strict=True):
        console.print(Text(row.rstrip()), soft_wrap=True)
        console.print(Padding(Text(meaning, style="dim"), (0, 0, 0, 4)))


def _written(value: Any) -> str:
    """A value as a recipe's file has it."""
    return value if isinstance(value, str) else json.dumps(value)
