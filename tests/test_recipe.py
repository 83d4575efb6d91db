"""Recipes: TOML files, what they change, and how they are read back."""

import pytest

from infra.errors import UsageError
from infra.tables import Table
from training.recipe import (
    RECIPES,
    Recipe,
    differences,
    load_recipe,
    override_recipe,
    recipe_toml,
    write_recipe,
)


def test_every_recipe_is_named_as_its_file():
    assert [load_recipe(name).name for name in RECIPES] == list(RECIPES)


def test_our_default_recipe_is_the_tables_defaults():
    assert load_recipe("lcvd") == Recipe()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_written_is_read_back(name, tmp_path):
    recipe = load_recipe(name)
    write_recipe(recipe, tmp_path / "recipe.toml")
    assert load_recipe(tmp_path / "recipe.toml") == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_the_explained_recipe_is_the_recipe(name, tmp_path):
    recipe = load_recipe(name)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(recipe))
    assert load_recipe(path) == recipe


def test_every_field_is_documented():
    tables = [Recipe]
    for table in tables:
        for name, field in table.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Table):
                tables.append(field.annotation)
            else:
                assert field.description, f"{table.__name__}.{name}"
    assert len(tables) == 10


def test_a_file_changes_the_recipe_that_it_is_based_on(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "lcvd-tiny"\n[run]\nsteps = 7\n')
    recipe = load_recipe(path)
    assert (recipe.run.steps, recipe.model.latents) == (7, "blocks")


def test_an_unknown_base_names_the_recipes(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "lcvd-huge"\n')
    with pytest.raises(UsageError, match="'lcvd-huge' is no recipe; allowed are lcvd-paper"):
        load_recipe(path)


def test_an_unknown_recipe_names_the_recipes():
    with pytest.raises(UsageError, match=r"no recipe is called 'lvcd'.*lcvd-paper, lcvd"):
        load_recipe("lvcd")


def test_an_override_needs_no_quotes():
    overrides = ["run.steps=9", "model.token=colours", "data.stride=[1, 1]"]
    recipe = load_recipe("lcvd", overrides)
    assert (recipe.run.steps, recipe.model.token, recipe.data.stride) == (9, "colours", (1, 1))
    assert override_recipe(load_recipe("lcvd"), overrides) == recipe


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("run.step=9", r"unknown key 'run.step'; allowed here: batch, keep"),
        ("run.steps=0", r"run.steps = 0 is not allowed"),
        ("run.steps", r"'run.steps' is no override"),
        ("name.steps=2", r"name is no table"),
        ("model.heads=[1]", r"\[model\]: channels has 4 levels, heads 1"),
        ("conditions.full=0.5", r"full \+ unlit \+ bare \+ posed is 0.8; it must be 1"),
        ("data.stride=[4, 1]", r"1 <= first <= second is needed"),
        ("engine.micro_batch=3", r"run.batch = 8 is no multiple of engine.micro_batch = 3"),
        ("model.channels=[320, 640, 1280, -1]", r"model.channels.3 = -1 is not allowed"),
        ("model.heads=[5, 10, 20, 0]", r"model.heads.3 = 0 is not allowed"),
        ("model.channels=[]", r"model.channels = \[\] is not allowed"),
        ("optimizer.rate=nan", r"optimizer.rate = nan is not allowed"),
        ("sampling.sigma_max=inf", r"sampling.sigma_max = inf is not allowed"),
        ("optimizer.betas=[0.9, 1.0]", r"optimizer.betas.1 = 1.0 is not allowed"),
        ("run.seed=9223372036854775808", r"run.seed = 9223372036854775808 is not allowed"),
        ("sampling.sigma_min=700", r"sigma_min = 700 must be less than sigma_max = 700"),
        ('model.adapters=["shading", "landmarks"]', r"landmarks, which conditions.posed = 0"),
        ("sampling.overlap=16", r"sampling.overlap = 16 must be less than sampling.window = 16"),
    ],
)
def test_a_wrong_override_says_what_is_allowed(override, words):
    with pytest.raises(UsageError, match=words):
        load_recipe("lcvd", [override])


def test_differences_name_the_key_each_value_and_the_meaning():
    rows = {name: (values, text) for name, values, text in differences([Recipe(), Recipe()])}
    assert rows == {}
    rows = {
        name: (values, text)
        for name, values, text in differences([load_recipe("lcvd"), load_recipe("lcvd-paper")])
    }
    values, text = rows["optimizer.name"]
    assert values == ["adamw", "adamw8bit"]
    assert "bitsandbytes" in text
