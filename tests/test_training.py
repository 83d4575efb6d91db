"""Whole runs on DeepSpeed, from a release to a model folder; interrupted, they go on bit by bit."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from catalog.lake import Lake
from infra.errors import UsageError
from stages.frames import SourceFrames
from tests.training_release import damage, dome_recipe, dome_release
from training.checkpoint.folder import steps
from training.checkpoint.merge import full_state
from training.checkpoint.stored import StoredCheckpoint
from training.launch.job import Job
from training.launch.launchers import Torchrun
from training.launch.watch import launch
from training.loop.folder import RunFolder, read_log
from training.loop.request import RunRequest, begin_run
from training.model.folder import load_model
from training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
STEPS, BATCH = 6, 2
SAID = {"loss", "full", "portrait", "grad_norm", "rate", "clips_per_second", "wait"}
SAID |= {"memory_bytes", "mfu", "micro_batch", "accumulation", "lost", "skipped"}

KILLS = {
    0: [  # before there is any checkpoint
        "run.log.write.before",
        "test.judge.before#2",
        "test.draws.after",
        "checkpoint.mkdir.after",
        "checkpoint.data.write#30",
    ],
    1: [
        "checkpoint.rename.after",
        "test.total.after#2",  # of two micro-batches
        "test.update.before",
        "test.update.after",
        "test.average.after",
        "test.tell.before",
        "test.tell.after",
        "run.log.rename.before",  # while it begins again, and cuts its log
        "test.copy.after",
        "checkpoint.data.fsync.before",
        "checkpoint.record.rename.before",
        "checkpoint.manifest.write.after",
        "checkpoint.rename.before",
    ],
    2: [
        "checkpoint.parent.fsync.after",
        "test.update.after#2 while the save is at checkpoint.data.write",
        "test.judge.after#3 while the save is at checkpoint.manifest.write.before",
        "test.preview.before while the save is at checkpoint.folder.fsync.after",
    ],
    # Each of these saves drops the oldest of three.
    3: ["checkpoint.aside.rename.after"],
    4: ["checkpoint.aside.unlink.after", "test.backward.after"],
    5: ["checkpoint.aside.rmdir.after"],
    6: ["test.model.before", "run.ended.rename.before"],
}
"""Where a run is killed, by the step of the newest checkpoint that it then has."""


def recipe(**tables: dict[str, Any]) -> Recipe:
    """The smallest UNet, on four frames at 64 pixels; films need no face mesh."""
    values = dome_recipe(conditions="film").model_dump(mode="json")
    changes: dict[str, dict[str, Any]] = {
        "model": {
            "start": "random",
            "adapters": ["shading", "reference"],
            "channels": [32, 32],
            "heads": [2, 2],
            "layers": 1,
            "token": "colours",
            "token_width": 16,
            "latents": "blocks",
            "luma": 3,
            "chroma": 1,
        },
        "conditions": {"scheme": "branches"},
        "optimizer": {"rate": 3e-3, "warmup": 2, "schedule": "constant", "ema": 0.9},
        "engine": {"zero": 1, "precision": "fp32", "micro_batch": 1, "threads": 1}
        | {"checkpointing": False},
        "run": {"steps": STEPS, "batch": BATCH, "save_every": 2, "keep": 9, "validate_every": 3}
        | {"validate_clips": 1, "preview_clips": 1, "preview_steps": 2},
        "sampling": {"window": 4, "overlap": 2},
    }
    for name, table in [*changes.items(), *tables.items()]:
        values[name] = values[name] | table
    return Recipe.model_validate(values)


@dataclass
class Runs:
    """Runs in folders of one lake."""

    lake: Lake
    release: Any
    ask: Any

    def begin(self, name: str, chosen: Recipe) -> RunFolder:
        folder = RunFolder(self.lake.root / "runs" / name)
        begin_run(folder, RunRequest.of(self.lake, self.release, chosen))
        return folder

    def train(self, folder, *, ranks=1, fault="", stay="", term=None) -> list[int]:
        job = {"ranks": ranks, "fault": fault, "stay": stay, "term": term}
        return self.ask({"folder": str(folder.root), **job})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("training-runs")
    release = dome_release(root, (24, 20, 22), held_out=(2,))
    shelf = tmp_path_factory.mktemp("shelf")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.training_runs", str(shelf)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"},
    ) as server:

        def ask(job):
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())

        yield Runs(Lake(root / "lake"), release, ask)
        server.stdin.close()


@pytest.fixture(scope="module")
def whole(runs) -> RunFolder:
    """A run that nothing befell."""
    folder = runs.begin("whole", recipe())
    assert runs.train(folder) == [0], (folder.root / "said").read_text()
    return folder


def losses(folder: RunFolder) -> list[float]:
    return [row["loss"] for row in read_log(folder.log, "step")]


def losses_told(folder: RunFolder) -> list[tuple[str, int, float]]:
    rows = [row for row in read_log(folder.log) if row["kind"] in ("step", "validation")]
    return [(row["kind"], row["step"], row["loss"]) for row in rows]


def outcome(folder: RunFolder) -> dict[str, Any]:
    """All that two runs are compared by: losses, and bytes of the last checkpoint and the model."""
    last = folder.checkpoints / f"step-{STEPS:08d}" / "rank-00000.safetensors"
    model = folder.model / "unet" / "diffusion_pytorch_model.safetensors"
    files = {"checkpoint": last.read_bytes(), "model": model.read_bytes()}
    state = StoredCheckpoint(last.parent).manifest.state
    return {"told": losses_told(folder), "state": state, **files}


def copied(runs: Runs, whole: RunFolder, name: str, step: int) -> RunFolder:
    """A run as it would be, had it been killed after a checkpoint."""
    folder = RunFolder(runs.lake.root / "runs" / name)
    shutil.copytree(whole.root, folder.root)
    for later in folder.checkpoints.iterdir():
        if int(later.name.removeprefix("step-")) > step:
            shutil.rmtree(later)
    shutil.rmtree(folder.model)
    return folder


def test_a_run_tells_of_every_step_once_and_in_full(whole):
    rows = read_log(whole.log, "step")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert all(row.keys() >= SAID for row in rows)
    assert all(row["mfu"] > 0 and 0 <= row["wait"] <= 1 for row in rows)
    first = rows[0]
    assert first["loss"] == pytest.approx(first["full"] + first["portrait"], rel=1e-5)
    assert (first["micro_batch"], first["accumulation"]) == (1, 2)


def test_held_out_people_are_validated_on_and_the_loss_falls(whole):
    rows = read_log(whole.log, "validation")
    assert [row["step"] for row in rows] == [0, 3, STEPS]
    assert all(row["split"] == "val" and row["held_out"] for row in rows)
    assert rows[-1]["loss"] < 0.97 * rows[0]["loss"]


def test_tensorboard_shows_the_same(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(whole.tensorboard))
    board.Reload()
    shown = [event.value for event in board.Scalars("step/loss")]
    assert shown == pytest.approx(losses(whole))
    assert [event.step for event in board.Images("preview")] == [0, 3, STEPS]


def test_previews_show_reference_mask_shading_generated_and_target(whole):
    names = sorted(path.name for path in whole.previews.iterdir())
    assert names == [f"step-{s:08d}.{e}" for s in (0, 3, STEPS) for e in ("mp4", "png")]
    film = np.stack(list(SourceFrames(whole.previews / names[-2], budget=0)))
    assert film.shape == (4, 64, 5 * 64, 3)
    panels = film.astype(float).reshape(4, 64, 5, 64, 3).transpose(2, 0, 1, 3, 4)
    reference, mask, shading, generated, target = panels
    assert np.abs(reference[0] - target[0]).mean() < 3  # slot 0 is the reference
    assert ((mask < 30) | (mask > 225)).mean() > 0.9
    assert shading[:, :4].max() < 30  # black around the face
    assert np.abs(generated - target).mean() > 3


def test_the_model_folder_holds_the_averaged_weights(whole):
    assert whole.ending() == {"reason": "finished", "step": STEPS, "model": "model", "message": ""}
    model = load_model(whole.model, torch.device("cpu"), torch.float32)
    stored = StoredCheckpoint(whole.checkpoints / f"step-{STEPS:08d}")
    average = full_state(stored)
    found = dict(model.lcvd.named_parameters())
    assert all(torch.equal(found[name], tensor) for name, tensor in average.items())
    assert not torch.equal(
        average["unet.conv_in.weight"], full_state(stored, "value")["unet.conv_in.weight"]
    )
    assert model.facts["step"] == STEPS


def test_told_to_leave_a_run_saves_and_goes_on_bit_by_bit(runs, whole):
    folder = runs.begin("told", recipe())
    assert runs.train(folder, term=1) == [75]
    said = folder.ending()
    assert said["reason"] == "preempted"
    assert 1 <= said["step"] < STEPS
    assert (folder.checkpoints / f"step-{said['step']:08d}").is_dir()
    assert runs.train(folder) == [0]
    assert outcome(folder) == outcome(whole)


def test_told_to_leave_before_its_first_step_a_run_takes_none(runs):
    folder = runs.begin("early", recipe())
    assert runs.train(folder, term=0) == [75]
    assert (folder.ending()["reason"], folder.ending()["step"]) == ("preempted", 0)
    assert losses(folder) == []


def test_a_save_that_failed_is_made_up_for_once_that_is_known(runs):
    folder = runs.begin("made-up", recipe(run={"steps": 16, "save_every": 8}))
    assert runs.train(folder, fault="eio@checkpoint.manifest.write.before#1") == [0]
    saved = set(steps(folder.checkpoints))
    # Not at the very next step: the thread that writes gives way to training.
    assert saved & set(range(9, 16))
    assert saved - set(range(9, 16)) == {16}


def test_killed_at_more_than_twenty_points_in_turn_a_run_goes_on_bit_by_bit(runs, whole):
    """Each start goes on from where the one before was killed, and is killed at the next point."""
    folder = runs.begin("killed", recipe(run={"save_every": 1, "keep": 2}))
    told, struck = set(outcome(whole)["told"]), folder.root / "struck"
    for saved, points in KILLS.items():
        for point in points:
            fault, _, stay = point.partition(" while the save is at ")
            assert runs.train(folder, fault=f"kill@{fault}", stay=stay) == [-9], point
            assert struck.exists(), point
            struck.unlink()
            assert (steps(folder.checkpoints) or [0])[-1] == saved, point
            assert told >= set(losses_told(folder)), point
    assert folder.ending() is None
    assert runs.train(folder) == [0]
    assert outcome(folder) == outcome(whole)
    assert steps(folder.checkpoints) == [STEPS - 1, STEPS]


@pytest.mark.parametrize("zero", [2, 3])
def test_two_ranks_go_on_at_another_stage_with_the_same_data(runs, whole, zero):
    folder = copied(runs, whole, f"ranks-{zero}", 4)
    begin_run(folder, RunRequest.of(runs.lake, runs.release, recipe(engine={"zero": zero})))
    assert runs.train(folder, ranks=2) == [0, 0], (folder.root / "said").read_text()
    assert losses(folder) == pytest.approx(losses(whole), abs=1e-5)
    one, other = (read_log(f.log, "validation")[-1] for f in (folder, whole))
    assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
    assert read_log(folder.log, "start")[-1]["ranks"] == 2


def test_two_ranks_of_torchrun_take_the_steps_of_one(runs, whole):
    alike = recipe(engine={"zero": 2}, run={"steps": 2, "preview_clips": 0})
    folder = runs.begin("torchrun", alike)
    ending = launch(Torchrun(), Job(folder, ranks=2))
    assert ending.reason == "finished", ending.log
    assert losses(folder) == pytest.approx(losses(whole)[:2], abs=1e-5)
    assert read_log(folder.log, "start")[-1]["ranks"] == 2


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_samples(runs):
    folder = runs.begin("mad", recipe(optimizer={"rate": 1e30}))
    assert runs.train(folder) == [7]
    said = folder.ending()
    assert said["reason"] == "stopped"
    assert "step 2" in said["message"] or "step 3" in said["message"]
    assert any(key in said["message"] for key in runs.release.index["key"].to_pylist())


def test_damaged_samples_are_told_by_their_key_up_to_a_limit(runs, tmp_path):
    [key, *_] = [row["key"] for row in runs.release.index.to_pylist() if row["split"] == "train"]
    place = runs.release.path.relative_to(runs.lake.root)
    damage(runs.release, tmp_path / "lake" / place, key, "video.mp4")
    poor = replace(runs, lake=Lake(tmp_path / "lake"))
    folder = poor.begin("damaged", recipe(data={"max_lost": 2}, run={"steps": 30}))
    assert poor.train(folder) == [3]
    told = [tuple(pair) for row in read_log(folder.log, "lost") for pair in row["samples"]]
    assert len(told) == 3
    assert {name for name, _ in told} == {key}
    assert "damaged" in told[0][1]
    assert read_log(folder.log, "step")
    assert (
        f"3 training samples were damaged, 2 are allowed (data.max_lost): {key}"
        in (folder.ending()["message"])
    )


def test_a_run_goes_on_with_its_recipe_and_release_alone(runs, whole):
    began = recipe()
    longer = recipe(run={"steps": 9, "keep": 1, "save_every": 3, "validate_every": 9})
    begun = whole.request.read_bytes()
    begin_run(whole, RunRequest.of(runs.lake, runs.release, longer))
    begin_run(whole, RunRequest.of(runs.lake, runs.release, began))
    assert whole.request.read_bytes() == begun
    with pytest.raises(UsageError, match=r"optimizer.rate was 0.003 and is now 0.1"):
        begin_run(whole, RunRequest.of(runs.lake, runs.release, recipe(optimizer={"rate": 0.1})))
    other = RunRequest.of(runs.lake, runs.release, began).model_copy(update={"version": "0"})
    with pytest.raises(UsageError, match="a run belongs to one release"):
        begin_run(whole, other)
    assert whole.request.read_bytes() == begun
