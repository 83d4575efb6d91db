from pathlib import Path

import pytest

from catalog.lake import Lake
from catalog.members import (
    Member,
    Recipe,
    build_names,
    member_ids,
    read_members,
    read_recipe,
    remember,
)
from infra.errors import LakeError, UsageError

RECIPE = Recipe("demo", "clips/*.mp4", {"pack": {"seed": 0}}, {"probe": "p", "quality": "q"})
MEMBERS = [Member("b", "zoë.mp4", "zoë", "val"), Member("a", "bad \udcff.mp4", "a", "train")]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path, create=True)


def test_a_build_is_remembered(lake: Lake):
    remember(lake, RECIPE, MEMBERS)
    assert read_recipe(lake, "demo") == RECIPE
    assert list(read_recipe(lake, "demo").fingerprints) == ["probe", "quality"]
    assert read_members(lake, "demo") == [
        Member("a", "bad \\udcff.mp4", "a", "train"),
        Member("b", "zoë.mp4", "zoë", "val"),
    ]
    assert sorted(member_ids(lake, "demo").to_pylist()) == ["a", "b"]


def test_the_latest_build_takes_the_place_of_the_one_before(lake: Lake):
    remember(lake, RECIPE, MEMBERS)
    remember(lake, RECIPE, [])
    assert read_members(lake, "demo") == []
    assert build_names(lake) == ["demo"]


def test_an_unknown_build_is_refused_by_the_names_of_the_known(lake: Lake):
    remember(lake, RECIPE, [])
    with pytest.raises(UsageError, match=r"(?s)no release is called 'dmo'.*demo"):
        read_members(lake, "dmo")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a b", "é", "x" * 101, "a\n"])
def test_a_name_that_could_not_be_a_folder_is_refused(lake: Lake, name: str):
    with pytest.raises(UsageError, match="cannot name a release"):
        read_recipe(lake, name)


def test_a_torn_recipe_is_a_lake_error(lake: Lake):
    remember(lake, RECIPE, [])
    (lake.releases / "demo" / "recipe.json").write_text("{")
    with pytest.raises(LakeError, match="cannot be understood"):
        read_recipe(lake, "demo")
