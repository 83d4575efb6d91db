"""What decides a stage's results, and what must be there before any work starts."""

import os
import pickle
from socket import gethostname

import pytest

from flows.config import BuildConfig
from infra.engine.attempts import Success
from infra.engine.base import WorkerSpec
from infra.engine.process import WorkerProcess, import_path
from infra.errors import UsageError, WeightsError
from stages.geometry import GeometryConfig
from stages.matting import MattingConfig
from stages.registry import require
from stages.worker import check_weights


def test_tables_of_models_not_chosen_decide_nothing():
    ours, other = GeometryConfig(), GeometryConfig(deca={"motion_window": 1.0})
    assert ours.deciding() == other.deciding()
    chosen = GeometryConfig(mediapipe_mesh={"light_window": 1.0})
    assert ours.deciding() != chosen.deciding()


def test_what_only_decides_the_pace_decides_no_result():
    one, many = (GeometryConfig(model="deca", deca={"batch": batch}) for batch in (1, 64))
    assert one.deciding() == many.deciding()
    assert one.deciding()["deca"]["motion_window"] == 0.05


def test_what_lcvds_masks_do_not_heed_does_not_decide_them():
    legacy = {"legacy": True}
    one = MattingConfig(model="u2netp", u2netp=legacy)
    other = MattingConfig(model="u2netp", u2netp={**legacy, "runtime": "torch"}, temporal=0)
    assert one.deciding() == other.deciding()
    assert one.deciding() != MattingConfig(model="u2netp").deciding()


def test_a_model_for_gpus_only_is_refused_where_none_is_asked_for():
    config = BuildConfig(geometry={"renderer": "cuda"})
    with pytest.raises(UsageError, match=r"\[geometry\] names what runs on a GPU only"):
        require(config.stages(), config.engine.stage_resources())
    require([], {})


class Gpus:
    """Tells which GPUs it is shown."""

    def run(self, payload, note):
        return os.environ.get("CUDA_VISIBLE_DEVICES", "all")

    def close(self):
        pass


@pytest.mark.parametrize(("asked", "shown"), [(0.0, ""), (0.5, "3")])
def test_a_worker_that_asked_for_no_gpu_is_shown_none(tmp_path, monkeypatch, asked, shown):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    worker = WorkerProcess(
        "gpus",
        WorkerSpec("tests.test_stage_config:Gpus", {}),
        memory_bytes=0,
        log=tmp_path / "log",
        path=import_path(),
        gpus=asked,
    )
    try:
        assert worker.start() is None
        came = worker.run(pickle.dumps(""), 60)
        assert isinstance(came, Success)
        assert pickle.loads(came.value) == shown
    finally:
        worker.stop()


def test_a_worker_with_another_weight_than_the_drivers_says_so():
    with pytest.raises(WeightsError, match=r"selfie_segmentation is .* on .*, but 0000"):
        check_weights({"selfie_segmentation": "0" * 64})


def test_a_worker_names_its_machine_where_a_weight_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMELIGHT_CACHE", str(tmp_path))
    monkeypatch.delenv("LIMELIGHT_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match=f"on {gethostname()}: .*fastervqa"):
        check_weights({"fastervqa": "0" * 64})
