"""A training run from the command line and in its Prefect flow: begun, lost, resumed, cancelled."""

import importlib.util
import json
import shutil
import time
from functools import partial
from threading import Thread

import httpx
import pytest
from typer.testing import CliRunner

from catalog.lake import Lake
from flows import runs, trainer
from flows.cli.app import app
from flows.runs import read_run, read_runs
from flows.trainer import FAULTS, Order, RanksLostError, Training, TrainingError
from infra.errors import EngineError, UsageError, WeightsError
from tests.plain_launcher import Plain
from tests.rank_programs import NAME, instruct, starts
from tests.releases import make_release, sample
from tests.training_release import dome_release
from training.checkpoint.folder import MANIFEST, step_folder
from training.checkpoint.records import Manifest, RunState
from training.launch import launchers
from training.launch.hold import hold
from training.launch.job import Job
from training.loop.request import LATENTS
from training.recipe import load_recipe

TINY = load_recipe("lcvd-tiny", ["run.steps=7"])


@pytest.fixture
def lake(tmp_path):
    make_release(tmp_path / "lake", [sample(1), sample(2)])
    return Lake(tmp_path / "lake")


@pytest.fixture
def fake(monkeypatch):
    """Ranks that do what they are told, started without torch."""
    monkeypatch.setitem(launchers.LAUNCHERS, "plain", Plain())
    monkeypatch.setattr(trainer, "Job", partial(Job, program=NAME))


def order(**asked):
    return Order(**{"release": "demo", "recipe": TINY, "name": "run", "launcher": "plain", **asked})


def training(lake, *deeds, cancelled=lambda: False, **asked):
    instruct(runs.run_folder(lake, "run"), *deeds)
    return Training(lake, order(**asked), cancelled=cancelled)


def limelight(*arguments, lake):
    return CliRunner().invoke(app, [*arguments, "--lake", str(lake.root)])


# Without Prefect.


def test_a_run_that_finishes_is_finished(lake, fake):
    run = training(lake, ["finish"])
    assert not run.finished
    assert run.train().reason == "finished"
    assert run.finished
    assert read_run(lake, "run").state == "finished"


def test_a_finished_run_of_which_more_steps_are_asked_goes_on(lake, fake):
    training(lake, ["finish"]).train()
    more = training(lake, ["finish"], recipe=load_recipe("lcvd-tiny", ["run.steps=8"]))
    assert not more.finished


def test_a_lost_rank_is_tried_again_until_it_is_no_accident(lake, fake):
    run = training(lake, ["die"])
    for _ in range(FAULTS - 1):
        with pytest.raises(RanksLostError):
            run.train()
    with pytest.raises(EngineError, match="3 times in a row"):
        run.train()
    assert read_run(lake, "run").state == "interrupted"


def test_an_error_that_may_pass_is_tried_again_and_told_in_the_end(lake, fake):
    run = training(lake, ["falter"], ["falter"], ["falter"], ["finish"])
    for _ in range(FAULTS - 1):
        with pytest.raises(RanksLostError, match="reads training samples died"):
            run.train()
    with pytest.raises(EngineError, match=r"3 times in a row(.|\n)*reads training samples"):
        run.train()
    assert run.train().reason == "finished"


def test_faults_with_a_checkpoint_between_them_are_accidents(lake, fake):
    run = training(lake, ["save_and_die"])
    for _ in range(FAULTS + 1):
        with pytest.raises(RanksLostError):
            run.train()


def test_a_run_that_stopped_by_itself_is_not_tried_again(lake, fake):
    run = training(lake, ["stop"])
    with pytest.raises(TrainingError, match="not finite") as caught:
        run.train()
    assert caught.value.hint == "look at these clips"
    found = read_run(lake, "run")
    assert (found.state, found.step) == ("failed", 4)
    assert "not finite" in found.reason


def test_ranks_that_want_less_memory_are_started_with_less(lake, fake):
    run = training(lake, ["want_less"], ["finish"])
    assert run.train().reason == "finished"
    assert len(starts(run.folder)) == 2


def test_a_cancelled_run_does_not_start(lake, fake):
    run = training(lake, ["finish"], cancelled=lambda: True)
    assert run.train().reason == "preempted"
    assert starts(run.folder) == []


def test_a_run_goes_on_as_it_began(lake, fake):
    training(lake, ["finish"]).train()
    other = load_recipe("lcvd-tiny", ["optimizer.rate=1"])
    with pytest.raises(UsageError, match=rf"rate was {TINY.optimizer.rate} and is now 1"):
        training(lake, ["finish"], recipe=other)


def test_what_cannot_be_trained_is_refused_before_anything_starts(lake, fake, monkeypatch):
    with pytest.raises(UsageError, match="no release 'none'"):
        training(lake, release="none")
    with pytest.raises(UsageError, match="no launcher is called 'spark'"):
        training(lake, launcher="spark")
    with pytest.raises(UsageError, match="shared evenly among 3 ranks"):
        training(lake, ranks=3)
    with pytest.raises(UsageError, match="cannot be encoded beforehand"):
        training(lake, cache=True)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        trainer, "find_spec", lambda name: None if name == "deepspeed" else find(name)
    )
    with pytest.raises(UsageError, match="needs deepspeed") as caught:
        training(lake)
    assert "limelight[train]" in caught.value.hint


def test_missing_weights_are_told_before_anything_starts(lake, tmp_path, monkeypatch):
    monkeypatch.setenv("LIMELIGHT_CACHE", str(tmp_path / "cache"))
    for name in ("LIMELIGHT_WEIGHTS", "LIMELIGHT_WEIGHTS_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    failed = limelight("train", "demo", lake=lake)
    assert isinstance(failed.exception, WeightsError)
    assert "svd_xt_unet" in str(failed.exception)
    assert not (lake.root / "runs").exists()
    assert not (lake.root / "prefect").exists()


# The commands.


def test_runs_are_listed_with_where_they_stand(lake, fake):
    training(lake, ["finish"]).train()
    (found,) = read_runs(lake)
    assert (found.name, found.release, found.recipe) == ("run", "demo", "lcvd-tiny")
    assert json.loads(limelight("runs", "--json", lake=lake).stdout) == [found.to_json()]
    assert "7 of 7" in limelight("runs", lake=lake).stdout
    with hold(runs.run_folder(lake, "run")):
        assert read_run(lake, "run").state == "running"
        assert "training run on demo" in limelight("status", lake=lake).stdout
    unknown = limelight("runs", "other", lake=lake)
    assert isinstance(unknown.exception, UsageError)
    assert "there is: run" in str(unknown.exception)


def test_a_run_that_cannot_be_read_hides_no_other(lake, fake):
    training(lake, ["finish"]).train()
    torn = runs.run_folder(lake, "torn")
    torn.root.mkdir()
    torn.request.write_text('{"format": ')
    found = {run.name: run for run in read_runs(lake)}
    assert (found["run"].state, found["torn"].state) == ("finished", "failed")
    assert "run.json is no JSON" in found["torn"].reason
    assert "is no JSON" in limelight("runs", lake=lake).stdout
    assert limelight("status", lake=lake).exit_code == 0


def test_a_run_goes_on_with_what_it_was_asked_whatever_became_of_its_recipe_file(lake, fake):
    run = training(lake, ["finish"])
    run.train()
    run.folder.recipe.write_text("[optimizer]\nra")
    said = limelight("train", "--resume", "--name", "run", "--launcher", "plain", lake=lake)
    assert said.exit_code == 0, said.exception
    assert "step 7 of 7" in said.stdout
    run.train()
    assert load_recipe(run.folder.recipe) == TINY  # for people, and whole again


def test_a_run_without_the_latent_cache_is_not_given_one_half_way(lake, fake):
    still = ["data.augment.zoom=0", "data.augment.light=0", "data.augment.colour=0"]
    chosen = {"recipe": load_recipe("lcvd-tiny", still), "cache": True}
    run = training(lake, ["finish"], **chosen)
    for latents in (0, 1):
        shutil.rmtree(run.folder.checkpoints, ignore_errors=True)
        state = RunState(position=0, scalars={LATENTS: latents})
        manifest = Manifest(step=2, ranks=1, token="t", state=state, files=()).sealed()
        path = step_folder(run.folder.checkpoints, 2) / MANIFEST
        path.parent.mkdir(parents=True)
        path.write_text(manifest.model_dump_json())
        if latents:
            training(lake, ["finish"], **chosen)
            continue
        with pytest.raises(UsageError, match="began without the latent cache"):
            training(lake, ["finish"], **chosen)


def test_a_finished_run_says_so_and_starts_nothing(lake, fake):
    run = training(lake, ["finish"])
    run.train()
    said = limelight("train", "--resume", "--name", "run", "--launcher", "plain", lake=lake)
    assert said.exit_code == 0, said.exception
    assert "run run finished: step 7 of 7" in said.stdout
    assert len(starts(run.folder)) == 1
    assert not (lake.root / "prefect").exists()


def test_what_is_to_go_on_has_to_be_named_and_there(lake):
    for arguments, words in (
        (["--resume"], "which run"),
        (["--resume", "--name", "none"], "no run 'none'"),
        ([], "no release was given"),
        (["demo", "--recipe", "lcvd-huge"], "no recipe is called 'lcvd-huge'"),
        (["demo", "--set", "run.stops=3"], "unknown key 'run.stops'"),
    ):
        failed = limelight("train", *arguments, lake=lake)
        assert isinstance(failed.exception, UsageError), arguments
        assert words in str(failed.exception)


def test_explaining_shows_what_differs_and_what_it_means(lake, tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text('base = "lcvd-tiny"\n[optimizer]\nrate = 0.5\n')
    shown = limelight("train", "--explain", "--recipe", str(own), lake=lake).stdout
    head, *rest = shown.splitlines()
    assert head.split() == ["lcvd-paper", "lcvd", "lcvd-tiny", "mine"]
    rates = ["1e-05", "1e-05", f"{TINY.optimizer.rate:g}", "0.5"]
    assert ["optimizer.rate", *rates] in [row.split() for row in rest]
    assert "    Learning rate. (more than 0)" in [row.rstrip() for row in rest]
    assert not any(row.startswith("diffusion.fps_id") for row in rest)
    rows = json.loads(limelight("train", "--explain", "--json", lake=lake).stdout)
    assert {"lcvd-paper", "lcvd", "lcvd-tiny", "key", "meaning"} == set(rows[0])
    whole = limelight("train", "--explain", "--all", "--recipe", str(own), lake=lake).stdout
    (tmp_path / "again.toml").write_text(whole)
    assert load_recipe(tmp_path / "again.toml") == load_recipe(own)


def test_the_cache_is_filled_once(tmp_path):
    dome_release(tmp_path, lengths=(6, 5))
    lake = Lake(tmp_path / "lake")
    same = [f"--set=data.augment.{change}=0" for change in ("zoom", "light", "colour", "flip")]
    arguments = ["cache", "demo", "--recipe", "lcvd-tiny", "--set=data.size=64", *same, "--json"]
    first, second = (json.loads(limelight(*arguments, lake=lake).stdout) for _ in range(2))
    assert (first["encoded"], first["entries"]) == (2, 2)
    assert second == {**first, "encoded": 0}
    assert first["bytes"] > 0
    failed = limelight("cache", "demo", "--recipe", "lcvd-tiny", lake=lake)
    assert "data.augment.zoom=0" in failed.exception.hint


# In the flow.


def flow(lake, deeds, **asked):
    """Run the flow here, as a run of its deployment."""
    from flows.serving import attached_run
    from flows.train import train_model

    instruct(runs.run_folder(lake, "run"), *deeds)
    parameters = {"lake": str(lake.root), "release": "demo", "recipe": TINY, "name": "run"}
    return attached_run(train_model, "train", {**parameters, **asked})


@pytest.fixture
def torchless(fake, monkeypatch):
    """The flow's own launchers are typed: under the name of one of them the plain one runs."""
    monkeypatch.setitem(launchers.LAUNCHERS, "torchrun", Plain())


@pytest.mark.prefect
def test_the_flow_goes_on_with_a_lost_run_and_reports(prefect_api, lake, torchless):
    made = flow(lake, [["falter"], ["finish"]])
    assert made == {**read_run(lake, "run").to_json(), "benchmark": None}  # none was asked for
    assert made["state"] == "finished"
    assert len(starts(runs.run_folder(lake, "run"))) == 2
    artifacts = httpx.post(f"{prefect_api}/artifacts/filter", json={"limit": 200}).json()
    assert {"training-progress", "training-figures", "training-report"} <= {
        artifact["key"] for artifact in artifacts
    }


@pytest.mark.prefect
def test_the_flow_does_not_try_a_wrong_request_again(prefect_api, lake, torchless):
    with pytest.raises(TrainingError, match="not finite"):
        flow(lake, [["stop"]])
    assert len(starts(runs.run_folder(lake, "run"))) == 1


@pytest.mark.prefect
def test_cancelling_in_the_ui_lets_the_ranks_save(prefect_api, lake, torchless):
    from prefect.exceptions import CancelledRun

    folder = runs.run_folder(lake, "run")

    def cancel() -> None:
        while not starts(folder):
            time.sleep(0.1)
        latest = {"sort": "START_TIME_DESC", "limit": 1}
        (run,) = httpx.post(f"{prefect_api}/flow_runs/filter", json=latest).json()
        state = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
        httpx.post(f"{prefect_api}/flow_runs/{run['id']}/set_state", json=state)

    Thread(target=cancel, daemon=True).start()
    with pytest.raises(CancelledRun):
        flow(lake, [["work"]])
    assert read_run(lake, "run").state == "preempted"
