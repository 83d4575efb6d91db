"""The model folder: whole or not there, what diffusers opens, and what it says when damaged."""

import json
from collections import Counter
from unittest.mock import MagicMock

import pytest
import torch
from typer.testing import CliRunner

from catalog.lake import Lake
from flows.cli.app import app
from infra import faults
from infra.errors import LakeError, UsageError, WeightsError
from stages.models.nets import one_thread
from tests.releases import make_release, sample
from tests.rule import rule_state
from training.loop import finish
from training.loop.folder import RunFolder
from training.loop.request import RunRequest, begin_run
from training.model.adapters import Adapter
from training.model.folder import MODEL, UNET, load_model, save_model
from training.model.lcvd import Lcvd
from training.model.new_folder import new_folder
from training.recipe import Recipe, load_recipe

RECIPE = Recipe.model_validate(
    {
        "name": "small",
        "model": {
            "start": "random",
            "adapters": ["reference", "shading"],
            "channels": [32, 32],
            "heads": [1, 2],
            "layers": 1,
            "token": "colours",
            "token_width": 16,
            "latents": "blocks",
            "luma": 2,
            "chroma": 1,
        },
    }
)
FACTS = {"step": 12, "release": {"seal": "0" * 64}, "codec": "blocks"}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _alone():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def lcvd():
    """A network whose adapters give something."""
    lcvd = Lcvd.build(RECIPE.model)
    for part in (lcvd.unet, *lcvd.adapters.values()):
        part.load_state_dict(rule_state(part.state_dict()))
    # Torch computes otherwise, in the last digit, where it might need gradients.
    return lcvd.eval().requires_grad_(False)


@pytest.fixture
def folder(lcvd, tmp_path):
    save_model(tmp_path / "model", lcvd, RECIPE, FACTS)
    return tmp_path / "model"


def run(lcvd):
    make = torch.Generator().manual_seed(0)
    latents, token = torch.randn(1, 2, 8, 4, 4, generator=make), torch.ones(1, 1, 16)
    pictures = {"shading": torch.rand(1, 2, 3, 32, 32, generator=make)}
    with torch.inference_mode():
        return lcvd(latents, torch.zeros(1), token, torch.ones(1, 3), pictures=pictures)


def names(folder):
    return sorted(path.name for path in folder.parent.iterdir())


def test_a_saved_model_comes_back_as_it_was(lcvd, folder):
    loaded = load_model(folder, CPU, torch.float32)
    assert torch.equal(run(loaded.lcvd), run(lcvd))
    assert (loaded.recipe, loaded.facts) == (RECIPE, FACTS)
    assert not loaded.lcvd.training
    assert not any(each.requires_grad for each in loaded.lcvd.parameters())
    assert names(folder) == ["model"]


def test_a_model_can_be_loaded_in_half_precision(lcvd, folder):
    loaded = load_model(folder, CPU, torch.bfloat16)
    made = run(loaded.lcvd)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), run(lcvd), rtol=0, atol=0.1)


def test_diffusers_opens_the_unet(lcvd, folder):
    from diffusers.models import UNetSpatioTemporalConditionModel

    unet = UNetSpatioTemporalConditionModel.from_pretrained(folder, subfolder="unet")
    state = lcvd.unet.state_dict()
    assert all(torch.equal(each, state[key]) for key, each in unet.state_dict().items())
    assert unet.config.num_attention_heads == [1, 2]
    assert unet.config.in_channels == 8


def test_a_models_digest_is_that_of_all_that_decides_its_results(lcvd, folder, tmp_path):
    first = load_model(folder, CPU, torch.float32).digest
    assert save_model(tmp_path / "same", lcvd, RECIPE, {"step": 13}) == first
    steps = RECIPE.sampling.model_copy(update={"steps": 9})
    other = RECIPE.model_copy(update={"sampling": steps})
    assert save_model(tmp_path / "other", lcvd, other, FACTS) != first
    assert load_recipe(tmp_path / "other" / "recipe.toml") == other


@pytest.mark.parametrize("name", [UNET, "unet/config.json", "adapters/shading.safetensors"])
def test_a_damaged_file_is_named(folder, name):
    path = folder / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(LakeError, match=rf"{name} is damaged: its sha256 is"):
        load_model(folder, CPU, torch.float32)


def test_a_missing_file_is_named(folder):
    (folder / UNET).unlink()
    with pytest.raises(LakeError, match=rf"cannot read .*{UNET}.*No such file"):
        load_model(folder, CPU, torch.float32)


def test_what_is_no_model_folder_is_said_to_be_none(folder, tmp_path):
    for other in (tmp_path, tmp_path / "nowhere", folder / MODEL):
        with pytest.raises(LakeError, match="is no model folder") as error:
            load_model(other, CPU, torch.float32)
        assert "`model` of a finished run" in error.value.hint


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": 2}, "has format 2; this version of Limelight reads 1"),
        ({"files": ["a"]}, "is damaged, or of another version"),
        (None, "is damaged, or of another version"),
    ],
)
def test_a_record_that_cannot_be_read_is_an_error(folder, change, match):
    record = json.loads((folder / MODEL).read_text())
    (folder / MODEL).write_text(json.dumps(record | change) if change else "{")
    with pytest.raises(LakeError, match=match):
        load_model(folder, CPU, torch.float32)


@pytest.mark.parametrize("name", [UNET, "recipe.toml", "adapters/shading.safetensors"])
def test_a_record_that_leaves_a_file_out_is_damaged(folder, name):
    record = json.loads((folder / MODEL).read_text())
    del record["files"][name]
    (folder / MODEL).write_text(json.dumps(record))
    with pytest.raises(LakeError, match=r"is damaged: it (does not|should) list .*" + name):
        load_model(folder, CPU, torch.float32)


def test_a_record_that_lists_a_file_elsewhere_is_damaged(folder):
    record = json.loads((folder / MODEL).read_text())
    record["files"]["../secret"] = "0" * 64
    (folder / MODEL).write_text(json.dumps(record))
    with pytest.raises(LakeError, match=r"is damaged: it should list .*secret"):
        load_model(folder, CPU, torch.float32)


def test_a_model_tells_what_drew_its_shading(monkeypatch):
    clips = MagicMock(keys=["lost", "told"])
    clips.__len__.return_value = 2
    told = {"frames": 9, "model": "deca", "region": "lcvd"}
    clips.facts.side_effect = [LakeError("damaged"), told]
    monkeypatch.setattr(finish, "ReleaseClips", lambda release: clips)
    assert finish.geometry_of(None) == {"model": "deca", "region": "lcvd"}


def test_weights_that_do_not_go_with_the_recipe_are_refused(lcvd, tmp_path):
    table = RECIPE.model.model_copy(update={"luma": 3})
    save_model(tmp_path / "model", lcvd, RECIPE.model_copy(update={"model": table}), FACTS)
    with pytest.raises(WeightsError, match=r"has other shapes for conv_in\.weight"):
        load_model(tmp_path / "model", CPU, torch.float32)


def test_a_model_is_replaced_only_when_asked(lcvd, folder):
    with pytest.raises(UsageError, match="already"):
        save_model(folder, lcvd, RECIPE, {"step": 13})
    assert load_model(folder, CPU, torch.float32).facts == FACTS
    save_model(folder, lcvd, RECIPE, {"step": 13}, replace=True)
    assert load_model(folder, CPU, torch.float32).facts == {"step": 13}
    assert names(folder) == ["model"]


def test_nothing_but_a_model_folder_is_replaced(lcvd, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"it holds no model\.json"):
        save_model(tmp_path / "pictures", lcvd, RECIPE, FACTS, replace=True)
    assert (tmp_path / "pictures" / "a.png").exists()


def test_a_failed_save_leaves_what_was_there(lcvd, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "_passes", Counter())
    monkeypatch.setenv("LIMELIGHT_FAULT", "enospc@model.rename.before#1")
    with pytest.raises(LakeError, match="is full"):
        save_model(folder, lcvd, RECIPE, {"step": 13}, replace=True)
    monkeypatch.setenv("LIMELIGHT_FAULT", "enospc@model.rename.before#2")
    with pytest.raises(LakeError, match="is full"):
        save_model(tmp_path / "new", lcvd, RECIPE, {"step": 13})
    assert names(folder) == ["model"]
    assert load_model(folder, CPU, torch.float32).facts == FACTS


def test_facts_that_are_no_json_are_refused_and_nothing_is_kept(lcvd, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_model(tmp_path / "model", lcvd, RECIPE, {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_save_left_is_put_right_by_the_next(lcvd, folder):
    half = folder.with_name(".model.0123.new")
    half.mkdir()
    (half / "part").write_bytes(b"")
    folder.rename(folder.with_name(".model.0123.old"))  # killed between the two renames
    with pytest.raises(UsageError, match="already"):
        save_model(folder, lcvd, RECIPE, {"step": 13})
    assert names(folder) == ["model"]
    assert load_model(folder, CPU, torch.float32).facts == FACTS


def test_a_killed_save_of_another_folder_is_left_alone(tmp_path):
    others = tmp_path / ".ab.0123.new"
    others.mkdir()
    with new_folder(tmp_path / "[ab]*", known_by="a") as new:
        (new / "a").write_bytes(b"")
    own = tmp_path / ".[a].0123.new"
    own.mkdir()
    with new_folder(tmp_path / "[a]", known_by="a") as new:
        (new / "a").write_bytes(b"")
    assert others.exists()
    assert not own.exists()


def test_the_authors_code_can_load_what_is_exported(lcvd, tmp_path):
    release = make_release(tmp_path, [sample(1)])
    run_folder = RunFolder(tmp_path / "runs" / "talk")
    begin_run(run_folder, RunRequest.of(Lake(tmp_path), release, RECIPE))
    out = tmp_path / "official"
    command = ["runs", "talk", "--export", str(out), "--lake", str(tmp_path)]
    early = CliRunner().invoke(app, command)
    assert "has no model yet" in str(early.exception)
    save_model(run_folder.model, lcvd, RECIPE, FACTS)
    assert CliRunner().invoke(app, command).exit_code == 0
    states = {path.stem: torch.load(path, weights_only=True) for path in out.iterdir()}
    loaded = Lcvd.build(RECIPE.model)
    loaded.unet.load_state_dict(states.pop("unet"), strict=True)
    loaded.adapters["shading"].load_state_dict(states.pop("light_embedder"), strict=True)
    loaded.adapters["reference"].load_state_dict(states.pop("ref_embedder"), strict=True)
    for name, tensor in lcvd.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    absent = Adapter(32)
    absent.load_state_dict(states.pop("head_embedder"), strict=True)
    assert not absent(torch.rand(1, 3, 16, 16)).any()
    assert not states
