"""The page of a training run, by what its folder holds."""

import json

from catalog.lake import Lake
from evaluation.run_page import write_run_page
from tests.releases import make_release, sample
from training.loop.folder import RunFolder
from training.loop.request import RunRequest, begin_run
from training.recipe import load_recipe

FIGURES = {"loss": 0.5, "seconds": 1, "clips_per_second": 2, "wait": 0.1, "memory_bytes": 10**9}


def test_what_training_lost_is_told_apart_from_what_validation_lost(tmp_path):
    release = make_release(tmp_path, [sample(1)])
    folder = RunFolder(tmp_path / "run")
    begin_run(folder, RunRequest.of(Lake(tmp_path), release, load_recipe("lcvd-tiny")))
    lost = {"kind": "lost", "step": 0}
    rows = [
        lost | {"samples": [["mended", "torn"]], "split": "val"},
        lost | {"samples": [["held", "torn"]], "split": "val"},  # after another start: all of it
        lost | {"samples": [["seen", "flipped"]]},
        {"kind": "step", "step": 1, **FIGURES},
    ]
    folder.log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = write_run_page(folder, tmp_path / "run.html").read_text()
    assert "<code>seen</code> was left out of training: flipped" in page
    assert "<code>held</code> was left out of validation: torn" in page
    assert "mended" not in page
