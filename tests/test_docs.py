"""The documentation says what is true."""

import re
import tomllib
from pathlib import Path

import pytest

from flows.cli.app import app
from flows.config import BuildConfig, default_toml, parse_config
from infra.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_explained_config_is_the_default_config():
    assert parse_config(tomllib.loads(default_toml()), "test") == BuildConfig()


def test_the_build_page_holds_the_config_as_it_is():
    assert default_toml() in (ROOT / "docs/build.md").read_text(), "write it anew: limelight config"


def test_the_build_page_names_every_setting():
    text = (ROOT / "docs/build.md").read_text()
    assert [name for name in Settings.model_fields if f"LIMELIGHT_{name.upper()}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_named_exists(page):
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    commands |= {group.name for group in app.registered_groups}
    named = set(re.findall(r"limelight ([a-z]+)", page.read_text()))
    assert named <= commands
