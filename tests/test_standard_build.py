"""A build by the standard models, whose weights are synthetic: the chain from end to end."""

import shutil
import tomllib
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from catalog.lake import Lake
from catalog.release import Release
from flows.builder import Build, Request
from flows.config import parse_config
from infra import weights
from infra.engine.open import open_engine
from infra.errors import WeightsError
from stages.encode import VideoWriter
from stages.face_fit import FaceFitter
from stages.frames import SourceFrames
from stages.geometry import GeometryConfig
from stages.models.deca.coefficients import Coefficients
from stages.models.face_geometry import FaceGeometry
from tests.synthetic_weights import CONFIG, write_fastervqa, write_synthetic_weights

FRAMES = 5


def shorten(source: Path, target: Path) -> None:
    """The first frames of a film, as a film."""
    frames = SourceFrames(source, budget=0)
    width, height = frames.size
    with VideoWriter(target, size=(width, height), fps=Fraction(25)) as writer:
        for _, frame in zip(range(FRAMES), frames, strict=False):
            writer.write(frame)


@pytest.fixture(scope="module")
def world(shared, tmp_path_factory):
    """A folder of clips, of weights and of a lake, and the settings that lead there."""
    folder = tmp_path_factory.mktemp("standard")
    for name in ("clips", "weights"):
        (folder / name).mkdir()
    for stem in ("lp_d0", "lp_d18"):
        shorten(shared / f"media/{stem}.mp4", folder / f"clips/{stem}.mp4")
    for name, weight in weights.registry().items():
        if weight.embedded and weight.kind != "clip":
            shutil.copy(weights.weight_path(name), folder / "weights")
    write_synthetic_weights(folder / "weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMELIGHT_WEIGHTS", str(folder / "weights"))
        patch.setenv("LIMELIGHT_CACHE", str(folder / "cache"))
        yield folder


def build(world: Path) -> Build:
    """Build the release again, whatever is missing of it."""
    config = parse_config(tomllib.loads(CONFIG), "test")
    lake = Lake.open(world / "lake", create=True)
    build = Build(
        lake, Request(str(world / "clips"), "std", config), lambda: open_engine("inline"), "run"
    )
    assert build.all() is not None
    return build


@pytest.fixture(scope="module")
def release(world) -> Release:
    return Release.open(build(world).lake, "std")


def test_every_clip_comes_through_the_standard_models(release):
    assert release.verify() == []
    assert len(release.index) == 2
    assert set(release.record["weights"]) >= {"fastervqa", "u2netp_torch", "deca", "flame"}
    for row in release.index.to_pylist():
        assert 0 < row["score"] < 1
        assert row["frames"] == FRAMES


def test_all_236_numbers_of_a_frame_are_kept_and_relit_without_the_video(world, release):
    key = release.index["key"][0].as_py()
    with np.load(BytesIO(release.read(key, "params.npz"))) as arrays:
        geometry = FaceGeometry.from_arrays(dict(arrays))
    assert Coefficients.from_arrays(geometry.arrays()).code().shape == (FRAMES, 236)
    fitter = FaceFitter(geometry=GeometryConfig(model="deca"))
    own = list(fitter.shading(geometry, 512))
    dark = list(fitter.shading(geometry.under(0.5 * geometry.light[0]), 512))
    assert len(own) == len(dark) == FRAMES
    assert own[0].any(axis=2).mean() > 0.02
    assert 0 < dark[0].mean() < 0.7 * own[0].mean()


def test_a_second_build_computes_nothing(world, release):
    again = build(world)
    assert again.tally.computed() == {}
    assert Release.open(again.lake, "std").digest == release.digest


def test_another_checkpoint_computes_what_loads_it_and_nothing_else(world, release):
    write_fastervqa(world / "weights", lift=0.2)
    with pytest.raises(WeightsError, match="another file"):
        build(world)
    path = world / "weights/FAST_VQA_3D_1_1.pth"
    weights.pull("fastervqa", path=path, replace=True)
    again = build(world)
    assert again.tally.computed() == {"quality": 2}
    other = Release.open(again.lake, "std")
    assert other.digest != release.digest
    assert other.index["key"] == release.index["key"]
    assert pc.all(pc.greater(other.index["score"], release.index["score"])).as_py()


def test_what_is_missing_is_told_before_any_work_starts(world, monkeypatch, tmp_path):
    monkeypatch.setenv("LIMELIGHT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("LIMELIGHT_CACHE", str(tmp_path / "cache"))
    config = parse_config(tomllib.loads(CONFIG), "test")
    lake = Lake.open(tmp_path / "lake", create=True)
    with pytest.raises(WeightsError) as raised:
        Build(lake, Request(str(world / "clips"), "std", config), engine_that_never_starts, "run")
    told = f"{raised.value.message} {raised.value.hint}"
    for words in ("fastervqa", "flame", "limelight weights pull", "--from", "flame.is.tue.mpg.de"):
        assert words in told
    assert lake.clips.rows().num_rows == 0


def engine_that_never_starts():
    raise AssertionError("no engine is to be started")
