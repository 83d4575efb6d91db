"""The build's TOML file: what is wrong is named, with what is allowed."""

import pytest

from flows.config import BuildConfig, load_config
from infra.errors import UsageError
from stages.registry import STAGES


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "build.toml"
        path.write_text(text)
        return path

    return write


def test_every_stage_has_its_table():
    assert {stage.name for stage in STAGES} < set(BuildConfig.model_fields)


def test_no_file_gives_the_defaults():
    assert load_config(None) == BuildConfig()


def test_a_value_of_the_file_is_taken(write):
    config = load_config(write("[quality]\nthreshold = 0.25\n"))
    assert config.quality.threshold == 0.25


def test_an_unknown_key_names_file_key_and_allowed_keys(write):
    path = write("[quality]\ntreshold = 0.25\n")
    with pytest.raises(UsageError) as error:
        load_config(path)
    assert str(path) in str(error.value)
    assert "quality.treshold" in str(error.value)
    assert "threshold" in str(error.value).split("allowed here:")[1]


def test_an_unknown_table_names_the_tables(write):
    with pytest.raises(UsageError, match=r"'mating'.*allowed here:.*matting"):
        load_config(write("[mating]\n"))


def test_a_bad_value_names_the_value_and_what_is_allowed(write):
    with pytest.raises(UsageError, match=r"quality\.threshold = 3 is not allowed.*less than"):
        load_config(write("[quality]\nthreshold = 3\n"))


def test_a_bad_choice_names_the_choices(write):
    with pytest.raises(UsageError, match=r"frame\.fit = 'round'.*'face', 'centre' or 'squash'"):
        load_config(write('[frame]\nfit = "round"\n'))


def test_text_that_is_not_toml_is_refused(write):
    with pytest.raises(UsageError, match="is not TOML"):
        load_config(write("quality = ["))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read the config"):
        load_config(tmp_path / "none.toml")


def test_resources_of_an_unknown_stage_are_refused(write):
    with pytest.raises(UsageError, match="names flying; allowed are probe"):
        load_config(write("[engine.resources.flying]\nnum_gpus = 1\n"))


def test_resources_reach_their_stage(write):
    config = load_config(write("[engine.resources.matting]\nnum_gpus = 0.25\n"))
    assert config.engine.stage_resources()["matting"].num_gpus == 0.25
    assert config.engine.stage_resources()["probe"].num_gpus == 0
