"""How a rank ends: what it says of it, and what it leaves to another start."""

import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from infra.errors import EngineError, LakeError
from tests.releases import make_release, sample
from tests.training_release import damage
from training import run
from training.engine import distributed
from training.engine.distributed import World
from training.engine.ladder import Fit, load_wish
from training.launch.host import HOST
from training.loop import start, validation
from training.loop.finish import geometry_of
from training.loop.folder import RunFolder
from training.loop.meters import RunLog
from training.loop.request import RunRequest, begin_run, bound_digest
from training.recipe import load_recipe

LOST = EngineError("a process that reads died", hint="it was killed", may_pass=True)
FULL = LakeError("the lake is full", hint="free some space")


class Trainer:
    """Does no step, and ends as it is told."""

    end = None
    asked = None

    def __init__(self, request, folder, world, stop, *, fit, why):
        self.step, self.fit = 3, fit
        type(self).asked = fit, why

    def train(self):
        if self.end is None:
            return "finished"
        raise self.end


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run, whose ranks are this process, and whose trainer is ours."""
    release = make_release(tmp_path / "lake", [sample(1)])
    folder = RunFolder(tmp_path / "lake" / "runs" / "run")
    recipe = load_recipe("lcvd-tiny", ["engine.micro_batch=4", "engine.checkpointing=true"])
    lake = SimpleNamespace(root=tmp_path / "lake")
    begin_run(folder, RunRequest.of(lake, release, recipe))
    fake = type("Told", (Trainer,), {})
    monkeypatch.setitem(sys.modules, "training.loop.trainer", SimpleNamespace(Trainer=fake))
    folder.trainer, folder.joined = fake, []

    def join(timeout):
        folder.joined.append(timeout)
        return World(0, 1, 0, torch.device("cpu"))

    monkeypatch.setattr(distributed, "join", join)
    monkeypatch.delenv(HOST, raising=False)
    threads = torch.get_num_threads()
    yield folder
    torch.set_num_threads(threads)


def test_ranks_wait_for_each_other_longer_than_for_a_sample(folder):
    assert run.run_rank(folder) == "finished"
    assert folder.ending()["reason"] == "finished"
    assert folder.joined == [distributed.TIMEOUT + timedelta(seconds=300)]


@pytest.mark.parametrize(("error", "said"), [(LOST, None), (FULL, "stopped")])
def test_only_an_error_that_would_come_again_is_the_end(folder, error, said):
    folder.end("preempted", 1)  # of an earlier start
    folder.trainer.end = error
    with pytest.raises(type(error)):
        run.run_rank(folder)
    ending = folder.ending()
    assert (ending and ending["reason"]) == said
    assert not ending or (ending["step"], ending["message"]) == (3, str(error))


def test_under_a_launcher_a_rank_leaves_the_word_of_another(folder, monkeypatch):
    monkeypatch.setenv(HOST, "1")
    folder.end("stopped", 0, message="another rank's")
    folder.trainer.end = FULL
    with pytest.raises(LakeError):
        run.run_rank(folder)
    assert folder.ending()["message"] == "another rank's"


def test_memory_that_runs_out_anywhere_asks_for_a_start_with_less(folder):
    folder.trainer.end = torch.OutOfMemoryError("in a validation")
    for size in (4, 2):
        with pytest.raises(EngineError) as caught:
            run.run_rank(folder)
        assert caught.value.exit_code == 6
        assert folder.trainer.asked[0] == Fit(size, checkpointing=True)
        assert folder.ending() is None
    assert "begun with micro-batch 2" in folder.trainer.asked[1]
    with pytest.raises(EngineError, match="nothing smaller is left"):
        run.run_rank(folder)
    assert folder.ending()["reason"] == "stopped"


def test_what_fitted_under_other_settings_is_left_aside(folder):
    folder.trainer.end = torch.OutOfMemoryError()
    with pytest.raises(EngineError):
        run.run_rank(folder)
    kept = json.loads(folder.fit.read_text())
    kept["under"]["device"] = "another GPU"
    folder.fit.write_text(json.dumps(kept))
    assert load_wish(folder.fit).under.device == "another GPU"
    world = World(0, 1, 0, torch.device("cpu"))
    recipe = load_recipe("lcvd-tiny", ["engine.micro_batch=4", "engine.checkpointing=true"])
    fit, why = start.fitting(recipe, folder, world)
    assert fit == Fit(4, checkpointing=True)
    assert "found under others" in why


def test_a_run_may_be_called_otherwise_by_its_recipe_but_not_be_another():
    recipe = load_recipe("lcvd-tiny")
    assert bound_digest(recipe.model_copy(update={"name": "mine"})) == bound_digest(recipe)
    assert bound_digest(load_recipe("lcvd-tiny", ["optimizer.rate=1"])) != bound_digest(recipe)


def test_a_full_disk_under_the_log_is_told(tmp_path):
    log = RunLog(RunFolder(tmp_path), step=0, writes=True)
    log._file.close()
    log._file = Path("/dev/full").open("w")  # noqa: SIM115 - the log closes it
    with pytest.raises(LakeError, match="is full"):
        log.write("step", 1, loss=0.5)
    with pytest.raises(LakeError, match="is full"):
        log.close()


def test_validation_knows_which_samples_it_lost(monkeypatch):
    damaged = SimpleNamespace(lost=(("a clip", "its video is damaged"),))
    monkeypatch.setattr(
        validation, "held_out", lambda *_: ("val", [damaged, SimpleNamespace(lost=())])
    )
    recipe = load_recipe("lcvd-tiny", ["run.validate_clips=2"])
    world = World(0, 1, 0, torch.device("cpu"))
    judge = validation.Validator(recipe, None, None, world)
    assert judge.lost == [("a clip", "its video is damaged")]


def test_a_finished_model_is_not_lost_for_a_damaged_clip(tmp_path):
    facts = {"geometry": {"model": "mediapipe_mesh"}}
    samples = [replace(sample(number), facts=facts, split="train") for number in (1, 2)]
    release = make_release(tmp_path / "lake", samples)
    keys = sorted(release.index["key"].to_pylist())
    one = damage(release, tmp_path / "one", keys[0], "json")
    assert geometry_of(one) == {"model": "mediapipe_mesh"}
    both = damage(one, tmp_path / "both", keys[1], "json")
    assert geometry_of(both) is None
