"""The standard networks on a GPU against themselves on the processor, under the rule's weights.

In float32 they agree to 1e-4 of the output's largest value, in float16 to 1e-3.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from catalog.lake import Lake
from catalog.outcomes import Outcome
from flows.config import BuildConfig
from infra import weights
from infra.engine.attempts import Success
from infra.engine.base import Note, WorkerSpec
from infra.engine.process import WorkerProcess, import_path
from stages.ingest import clip_id
from stages.models import nets, onnx_session
from stages.models.arcface import iresnet
from stages.models.arcface.iresnet import IResNet, TorchArcFace
from stages.models.deca.encoder import ready_encoder
from stages.models.deca.model import Deca
from stages.models.face_geometry import FaceTrack
from stages.models.fastervqa import model as fastervqa
from stages.models.fastervqa import swin
from stages.models.fastervqa.model import FasterVQA
from stages.models.fastervqa.network import FasterVQANet
from stages.models.nets import Precision, one_thread, ready_net
from stages.models.onnx_session import OnnxNet
from stages.models.u2net import model as u2net
from stages.models.u2net.export import export_onnx
from stages.models.u2net.model import published, torch_maps
from stages.models.u2net.network import u2netp
from stages.models.u2net.pictures import prepare
from stages.probe import Probe, ProbeConfig
from stages.quality import Quality, QualityConfig
from stages.registry import fingerprints
from stages.worker import ClipWorker, Task, stage_entry
from tests.media import write_film
from tests.rule import blocks, generator, rule_state
from tests.synthetic_flame import rule_deca, synthetic_weights
from tests.synthetic_weights import fastervqa_state, write_fastervqa

CPU = torch.device("cpu")
WITHIN: dict[Precision, float] = {"float32": 1e-4, "float16": 1e-3}
ENGINE = BuildConfig().engine

in_both_formats = pytest.mark.parametrize("precision", WITHIN)


def assert_near(found: np.ndarray, exact: np.ndarray, precision: Precision = "float32") -> None:
    scale = np.abs(exact).max()
    np.testing.assert_allclose(found, exact, rtol=0, atol=WITHIN[precision] * scale)


@contextmanager
def on(device: torch.device) -> Iterator[None]:
    """Have models that are made within run there."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (nets, onnx_session, u2net):
            patch.setattr(module, "best_device", lambda: device)
        yield


def noise(name: str, *shape: int) -> np.ndarray:
    """Pictures (..., H, W, 3) of coloured blocks, uint8."""
    *first, height, width, _ = shape
    size = (*first, height // 16, width // 16, 3)
    return blocks(generator(f"input:{name}"), 0, 256, size, (*[1] * len(first), 16, 16, 1))


# FasterVQA.


@in_both_formats
@pytest.mark.cuda
def test_fastervqa_rates_alike(gpu, precision, monkeypatch):
    monkeypatch.setattr(fastervqa, "load_state", lambda weight: fastervqa_state())
    clips = noise("cuda fastervqa", 2, 16, 224, 224, 3)
    with on(CPU):
        exact = FasterVQA("mt").rate(clips)
    with on(gpu):
        found = FasterVQA("mt", precision=precision).rate(clips)
    if precision == "float32":
        assert_near(found, exact)
    # A raw score is its map's mean: places of a map round by 3e-3 in float16, on processors too.
    off = (found - exact).mean(axis=(1, 2, 3))
    assert np.abs(off).max() <= WITHIN[precision] * np.abs(exact).max()


def test_all_windows_at_once_as_on_a_gpu_give_what_a_few_at_a_time_do(monkeypatch):
    net = ready_net(FasterVQANet(), fastervqa_state(), name="the rule's", device=CPU)
    drawn = generator("input:cuda windows").standard_normal((2, 3, 8, 64, 64))
    clips = torch.from_numpy(drawn.astype(np.float32))
    with one_thread(), torch.inference_mode():
        few = net(clips)
        monkeypatch.setattr(swin, "_CPU_WINDOWS", 1 << 30)
        np.testing.assert_allclose(net(clips), few, rtol=0, atol=2e-6)


# U^2-Net.


@in_both_formats
@pytest.mark.cuda
def test_u2net_mattes_alike_on_torch(gpu, precision, monkeypatch):
    state = rule_state(u2netp().state_dict())
    monkeypatch.setattr(u2net, "load_state", lambda weight: state)
    shown = prepare(list(noise("cuda u2net", 3, 320, 320, 3)))
    with on(CPU):
        exact = torch_maps(published("u2netp"))(shown)
    with on(gpu):
        found = torch_maps(published("u2netp", precision))(shown)
    assert_near(found, exact, precision)


@pytest.mark.cuda
def test_onnx_runtime_gives_the_same_for_batches_of_changing_size(gpu, tmp_path):
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("needs onnxruntime-gpu: pip install 'limelight[gpu]'")
    net = u2netp()
    net.load_state_dict(rule_state(net.state_dict()))
    export_onnx(net, tmp_path / "u2netp.onnx", size=96)
    with on(CPU):
        plain = OnnxNet(tmp_path / "u2netp.onnx", (3, 96, 96))
    with on(gpu):
        quick = OnnxNet(tmp_path / "u2netp.onnx", (3, 96, 96))
    assert (plain.device, quick.device) == ("cpu", gpu.type)
    pictures = prepare(list(noise("cuda onnx", 7, 96, 96, 3)))
    # A place on the GPU is bound, filled anew, bound for another size, and filled anew.
    for batch in np.split(pictures[[*range(7), *range(3)]], [3, 6, 8]):
        assert_near(quick(batch)[0], plain(batch)[0])


# ArcFace.


@pytest.fixture(scope="module")
def arcface_state() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return rule_state(IResNet(50).state_dict())


@pytest.mark.cuda
def test_arcface_tells_alike(gpu, arcface_state, monkeypatch):
    monkeypatch.setattr(iresnet, "load_state", lambda weight: arcface_state)
    faces = noise("cuda arcface", 2, 112, 112, 3)
    with on(CPU):
        exact = TorchArcFace("arcface_r50_torch")(faces)
    with on(gpu):
        found = TorchArcFace("arcface_r50_torch")(faces)
    assert_near(found, exact)


# DECA.


@in_both_formats
@pytest.mark.cuda
def test_decas_encoder_finds_the_same_numbers(gpu, precision):
    pictures = torch.from_numpy(noise("cuda deca", 2, 224, 224, 3)).permute(0, 3, 1, 2) / 255
    codes = []
    for device, form in ((CPU, "float32"), (gpu, precision)):
        encoder = ready_encoder(rule_deca(), device=device, precision=form)
        with one_thread(), torch.inference_mode():
            shown = pictures.to(device, getattr(torch, form))
            codes.append(encoder(shown).float().cpu().numpy())
    assert_near(codes[1], codes[0], precision)


@in_both_formats
@pytest.mark.cuda
def test_deca_fits_and_poses_the_same_heads(gpu, precision):
    files = synthetic_weights()
    frames, size = 5, 160
    points = 40 * generator("input:cuda face").uniform(-1, 1, (478, 3)) + (80, 80, 0)
    walked = points + np.arange(frames)[:, None, None] * (3, 0, 0)
    track = FaceTrack(walked.astype(np.float32), np.ones(frames, bool), 25.0, size)
    film = noise("cuda film", frames, size, size, 3)
    options = {"load": files.__getitem__, "batch": 2}
    plain = Deca(device=CPU, **options)
    quick = Deca(device=gpu, precision=precision, **options)
    exact, found = plain.fit(film, track), quick.fit(film, track)
    for name, each in exact.arrays().items():
        assert_near(found.arrays()[name], each, precision)
    # Of the same numbers: FLAME is in float32, whatever the encoder is in.
    for ours, theirs in zip(quick.meshes(exact), plain.meshes(exact), strict=True):
        assert_near(ours.camera, theirs.camera)
        assert_near(ours.image, theirs.image)


# A worker.


class ToldWorker(ClipWorker):
    """Also tells how many bytes its networks hold on the GPU."""

    def run(self, payload: Task, note: Note) -> tuple[list[Outcome], int]:
        return super().run(payload, note), torch.cuda.memory_allocated()


@pytest.fixture
def spec(tmp_path, monkeypatch) -> WorkerSpec:
    """A worker that probes and rates clips, by synthetic weights."""
    monkeypatch.setenv("LIMELIGHT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("LIMELIGHT_CACHE", str(tmp_path / "cache"))
    write_fastervqa(tmp_path)
    weights.prepare(["fastervqa"])
    table = {"variant": "mt"}
    stages = [
        Probe(ProbeConfig()),
        Quality(QualityConfig(model="fastervqa", threshold=0, fastervqa=table)),
    ]
    known = fingerprints(stages)
    arguments = {
        "lake": str(Lake.open(tmp_path / "lake", create=True).root),
        "run": "cuda",
        "stages": [stage_entry(stage, known[stage.name]) for stage in stages],
        "frame_bytes": ENGINE.frame_bytes,
    }
    return WorkerSpec(f"{__name__}:{ToldWorker.__name__}", arguments)


def rated(spec: WorkerSpec, film: Path, gpus: float) -> tuple[list[Outcome], int]:
    """What a worker in a process of its own makes of a film, under a build's limit."""
    task: Task = {
        "clip": clip_id(film),
        "uri": str(film),
        "stages": ["probe", "quality"],
        "done": {},
    }
    log = film.with_suffix(".log")
    worker = WorkerProcess(
        "cuda", spec, memory_bytes=ENGINE.memory_bytes, log=log, path=import_path(), gpus=gpus
    )
    try:
        assert worker.start() is None
        came = worker.run(pickle.dumps(task), 240)
    finally:
        worker.stop()
    assert isinstance(came, Success), came
    return pickle.loads(came.value)


@pytest.mark.cuda
def test_a_worker_under_its_memory_limit_rates_clips_on_a_gpu(gpu, spec, tmp_path):
    film = write_film(tmp_path / "film.mp4", frames=20, size=(256, 240))
    (*_, exact), held = rated(spec, film, gpus=0)
    assert held == 0
    (*_, found), held = rated(spec, film, gpus=1)
    assert held > 100e6  # the network's 32 million numbers in float32
    assert exact.status == found.status == "done"
    assert found.facts["raw"] == pytest.approx(exact.facts["raw"], rel=WITHIN["float32"])
