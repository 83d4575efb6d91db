"""A build by the standard models, whose weights are synthetic: the chain from end to end."""

import shutil
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from PIL import Image

from catalog.lake import Lake
from catalog.outcomes import Outcome
from catalog.release import Release
from flows.builder import Build, Request
from flows.config import parse_config
from infra import weights
from infra.engine.open import open_engine
from infra.errors import WeightsError
from infra.settings import load_settings
from stages.encode import VideoWriter
from stages.face_fit import FaceFitter
from stages.frames import SourceFrames
from stages.geometry import GeometryConfig
from stages.models.deca.coefficients import Coefficients
from stages.models.face_geometry import FaceGeometry
from stages.models.face_landmarker.blendshapes import BLENDSHAPES
from tests.synthetic_weights import (
    CONFIG,
    OWN_FASTERVQA,
    OWN_U2NETP,
    fastervqa_state,
    write_fastervqa,
    write_synthetic_weights,
)

FRAMES = 5
PORTRAIT, ANIMAL = "lp_d18.mp4", "animal.mp4"
CHECKPOINT = "FAST_VQA_3D_1_1.pth"
BUNDLE = "face_landmarker_v2_with_blendshapes.task"


def write_film(path: Path, frames: Iterable[np.ndarray]) -> None:
    first, *rest = islice(frames, FRAMES)
    height, width = first.shape[:2]
    with VideoWriter(path, size=(width, height), fps=Fraction(25)) as writer:
        for frame in (first, *rest):
            writer.write(frame)


@dataclass(frozen=True)
class World:
    """Folders of clips, weights and a lake, and a cache."""

    clips: Path
    weights: Path
    cache: Path
    lake: Path

    @classmethod
    def within(cls, folder: Path) -> Self:
        world = cls(*(folder / name for name in ("clips", "weights", "cache", "lake")))
        for each in (world.clips, world.weights):
            each.mkdir()
        return world

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Have weights come from here."""
        patch.setenv("LIMELIGHT_WEIGHTS", str(self.weights))
        patch.setenv("LIMELIGHT_CACHE", str(self.cache))

    def build(self, engine: Callable, name: str = "std") -> Build:
        """What would build a release."""
        config = parse_config(tomllib.loads(CONFIG), "test")
        lake = Lake.open(self.lake, create=True)
        return Build(lake, Request(str(self.clips), name, config), engine, name)


def inline():
    return open_engine("inline")


def ray():
    return open_engine("ray", load_settings(workers=1))  # loading the models is what takes long


@pytest.fixture(scope="module")
def world(shared, tmp_path_factory) -> Iterator[World]:
    """A portrait and an animal, and all weights."""
    world = World.within(tmp_path_factory.mktemp("standard"))
    write_film(world.clips / PORTRAIT, SourceFrames(shared / "media" / PORTRAIT, budget=0))
    animal = Image.open(shared / "media/negative_animal_s36.jpg").convert("RGB").resize((256, 256))
    write_film(world.clips / ANIMAL, [np.asarray(animal)] * FRAMES)
    shutil.copy(shared / "weights" / BUNDLE, world.weights)
    write_synthetic_weights(world.weights)
    with pytest.MonkeyPatch.context() as patch:
        world.enter(patch)
        yield world


@pytest.fixture(scope="module")
def first(world) -> Build:
    """The first build, on Ray: the driver converts what is pickled, workers load the rest."""
    build = world.build(ray)
    assert build.all() is not None
    return build


@pytest.fixture
def release(first) -> Release:
    return Release.open(first.lake, "std")


@pytest.fixture
def other_weights(world, first, tmp_path, monkeypatch) -> World:
    """The same clips and lake, and the same weights in a folder and a cache of its own."""
    other = World(world.clips, tmp_path / "weights", tmp_path / "cache", world.lake)
    other.weights.mkdir()
    for path in world.weights.iterdir():
        if path.name != CHECKPOINT:
            (other.weights / path.name).symlink_to(path)
    shutil.copytree(world.cache, other.cache)
    other.enter(monkeypatch)
    return other


def outcomes(build: Build) -> dict[str, dict[str, Outcome]]:
    """By the clip's file name and the stage."""
    found = build.lake.outcomes.of([m.clip for m in build.members], build.fingerprints)
    return {member.label: found.get(member.clip, {}) for member in build.members}


@pytest.mark.ray
def test_a_portrait_comes_through_the_standard_models(first, release):
    assert release.verify() == []
    assert len(release.index) == 1
    loaded = {"fastervqa", "face_landmarker", "u2netp", "deca", "flame", "flame_masks"}
    assert set(release.record["weights"]) == loaded
    for row in release.index.to_pylist():
        assert 0 < row["score"] < 1
        assert row["frames"] == FRAMES
    made = outcomes(first)[PORTRAIT].values()
    assert {outcome.status for outcome in made} == {"done"}
    assert all(outcome.worker.startswith("probe+") for outcome in made)


@pytest.mark.ray
def test_an_animal_is_turned_down_with_the_reason(first):
    animal = outcomes(first)[ANIMAL]
    assert {name: outcome.status for name, outcome in animal.items()} == {
        "probe": "done",
        "quality": "done",
        "landmarks": "rejected",
    }
    assert animal["landmarks"].reason.startswith("no face found in any of 5 frames")


@pytest.mark.ray
def test_all_236_numbers_of_a_frame_are_kept_and_relit_without_the_video(release):
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


@pytest.mark.ray
def test_expressions_are_kept_beside_the_landmarks(first):
    (artifact,) = outcomes(first)[PORTRAIT]["landmarks"].artifacts
    with np.load(first.lake.artifacts.path("landmarks", artifact)) as arrays:
        assert arrays["blendshapes"].shape == (FRAMES, len(BLENDSHAPES))
        assert arrays["transform"].shape == (FRAMES, 4, 4)


@pytest.mark.ray
def test_a_second_build_computes_nothing(world, release):
    again = world.build(engine_that_never_starts)
    assert again.all().digest == release.digest
    assert again.tally.computed() == {}


@pytest.mark.ray
def test_another_checkpoint_computes_what_loads_it_and_nothing_else(other_weights, release):
    write_fastervqa(other_weights.weights, lift=0.2)
    with pytest.raises(WeightsError, match="another file"):
        other_weights.build(engine_that_never_starts)
    weights.pull("fastervqa", path=other_weights.weights / CHECKPOINT, replace=True)
    build = other_weights.build(inline, name="other")
    other = build.all()
    assert build.tally.computed() == {"quality": 2}
    assert other.digest != release.digest
    assert other.index["key"] == release.index["key"]
    assert pc.all(pc.greater(other.index["score"], release.index["score"])).as_py()


@pytest.mark.ray
def test_ones_own_checkpoint_of_another_shape_ends_the_build_and_blames_no_clip(other_weights):
    (other_weights.weights / "weights.toml").unlink()
    (other_weights.weights / "weights.toml").write_text(OWN_U2NETP + OWN_FASTERVQA)
    narrow = {key: torch.zeros([1] * each.ndim) for key, each in fastervqa_state().items()}
    torch.save({"state_dict": narrow}, other_weights.weights / CHECKPOINT)
    weights.pull("fastervqa", path=other_weights.weights / CHECKPOINT, replace=True)
    build = other_weights.build(inline, name="narrow")
    told = r"^fastervqa is no FasterVQANet: it has other shapes for .* and 193 more\n.*weights list"
    with pytest.raises(WeightsError, match=told):
        build.all()
    assert build.tally.computed() == {}
    for made in outcomes(build).values():
        assert made["probe"].status == "done"
        assert "quality" not in made


def test_what_is_missing_is_told_before_any_work_starts(world, monkeypatch, tmp_path):
    bare = World(world.clips, tmp_path, tmp_path / "cache", tmp_path / "lake")
    bare.enter(monkeypatch)
    with pytest.raises(WeightsError) as raised:
        bare.build(engine_that_never_starts)
    told = f"{raised.value.message} {raised.value.hint}"
    for words in ("fastervqa", "flame", "limelight weights pull", "--from", "flame.is.tue.mpg.de"):
        assert words in told
    assert Lake.open(bare.lake).clips.rows().num_rows == 0


def engine_that_never_starts():
    raise AssertionError("no engine is to be started")
