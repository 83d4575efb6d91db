"""Recipes: TOML files that say all that decides a training run, but the release."""

from training.recipe.read import (
    RECIPES,
    differences,
    load_recipe,
    override_recipe,
    parse_recipe,
    recipe_toml,
    write_recipe,
)
from training.recipe.tables import Detail, Recipe, Stream

__all__ = [
    "RECIPES",
    "Detail",
    "Recipe",
    "Stream",
    "differences",
    "load_recipe",
    "override_recipe",
    "parse_recipe",
    "recipe_toml",
    "write_recipe",
]
