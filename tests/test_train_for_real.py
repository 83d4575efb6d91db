"""Training for real: from the command line in its flow until Ctrl-C, then on a Ray cluster."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import ray

from catalog.lake import Lake
from flows import runs, trainer
from flows.runs import read_run
from flows.server import client_environment
from flows.trainer import Order, RanksLostError, Training
from infra.engine.cluster import Cluster
from infra.settings import load_settings
from tests.rank_programs import NAME, instruct
from tests.training_release import dome_release
from training.checkpoint.folder import step_folder
from training.launch import launchers
from training.launch.job import Job
from training.launch.watch import Patience
from training.loop.folder import read_log
from training.recipe import load_recipe


@pytest.fixture(scope="module")
def domes(tmp_path_factory):
    """A release of real films, and a recipe for it."""
    folder = tmp_path_factory.mktemp("domes")
    dome_release(folder, lengths=(12, 10))
    (folder / "quick.toml").write_text(
        'base = "lcvd-tiny"\n'
        "[data]\nsize = 64\nframes = 3\nworkers = 0\nconditions = 'film'\n"
        "[data.augment]\nlight = 0.0\n"
        "[model]\nchannels = [32, 32]\nheads = [1, 1]\nlayers = 1\n"
        "[engine]\nthreads = 1\nmicro_batch = 2\n"
        "[run]\nsteps = 4000\nbatch = 2\nvalidate_clips = 1\npreview_clips = 0\n"
    )
    return folder


@pytest.fixture(scope="module")
def interrupted(prefect_server, domes):
    """What became of a command that trains for real, after Ctrl-C in its first steps."""
    lake, recipe = Lake(domes / "lake"), str(domes / "quick.toml")
    told = client_environment(prefect_server.home.parent, prefect_server.api_url)
    command = [sys.executable, "-m", "flows.cli"]
    asked = ["train", "demo", "--recipe", recipe, "--name", "quick", "--lake", str(lake.root)]
    environment = {**os.environ, **told}
    begun = subprocess.Popen([*command, *asked], stderr=subprocess.PIPE, text=True, env=environment)
    log = runs.run_folder(lake, "quick").log
    deadline = time.monotonic() + 240
    while '"kind": "step"' not in (log.read_text() if log.exists() else ""):
        assert begun.poll() is None, begun.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    begun.send_signal(signal.SIGINT)
    _, stderr = begun.communicate(timeout=240)
    subprocess.run([*command, "down", "--lake", str(lake.root)], check=True, env=environment)
    return subprocess.CompletedProcess(begun.args, begun.returncode, stderr=stderr)


@pytest.mark.prefect
def test_ctrl_c_saves_and_ends_the_run_as_preempted(interrupted, domes):
    assert interrupted.returncode == 130, interrupted.stderr
    left = read_run(Lake(domes / "lake"), "quick")
    assert (left.state, left.model) == ("preempted", "")
    assert left.step >= 1
    assert step_folder(
        runs.run_folder(Lake(domes / "lake"), "quick").checkpoints, left.step
    ).is_dir()


@pytest.fixture
def cluster(monkeypatch):
    """A Ray that is there already, for all starts of ranks."""
    with closing(Cluster(load_settings())):
        monkeypatch.setenv("LIMELIGHT_RAY_ADDRESS", ray.get_runtime_context().gcs_address)
        # A process connects to Ray once, and this one has: it cannot ask anew what there is.
        monkeypatch.setattr(launchers.OnRay, "gpus", lambda launcher: 0)
        yield


@pytest.mark.ray
@pytest.mark.prefect
@pytest.mark.timeout(900)  # Ray starts three times, on a machine that may be busy
def test_on_ray_a_run_survives_a_killed_rank_and_goes_on_to_its_end(
    interrupted, domes, cluster, monkeypatch
):
    """The run that Ctrl-C interrupted, on twice as many ranks and at another stage."""
    lake = Lake(domes / "lake")
    left = read_run(lake, "quick")
    monkeypatch.setattr(trainer, "Job", partial(Job, program=NAME))
    rest = load_recipe(domes / "quick.toml", [f"run.steps={left.step + 1}", "engine.zero=2"])
    asked = Order("demo", rest, "quick", launcher="ray", ranks=2)
    training = Training(lake, asked, patience=Patience(start=240))
    instruct(training.folder, ["hang", "die"], ["train", "train"])
    with pytest.raises(RanksLostError):
        training.train()
    assert training.train().reason == "finished"
    run = read_run(lake, "quick")
    assert (run.state, run.step) == ("finished", left.step + 1)
    assert run.first["loss"] == left.first["loss"]
    assert run.validation_last["step"] == run.step
    assert load_recipe(f"{run.folder}/recipe.toml") == rest
    assert any(path.name == "model.json" for path in Path(run.model).iterdir())
    assert read_log(training.folder.log, "start")[-1]["ranks"] == 2
