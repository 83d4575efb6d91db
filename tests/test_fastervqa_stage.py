"""The quality stage with FasterVQA, under the goldens' weight rule."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from stages.base import Rejected
from stages.clip import Clip
from stages.frames import SourceFrames
from stages.models.fastervqa import model as fastervqa
from stages.models.fastervqa.fragments import Plan
from stages.models.fastervqa.network import FasterVQANet
from stages.models.fastervqa.variants import VARIANTS
from stages.quality import Quality, QualityConfig
from tests.media import write_film
from tests.rule import rule_state

FRAMES = 60
SIZE = (256, 240)
MT = VARIANTS["mt"]


@pytest.fixture(scope="module")
def state():
    return rule_state(FasterVQANet().state_dict(), keep=("relative_position_index",))


@pytest.fixture
def make_stage(state, monkeypatch):
    asked = []
    monkeypatch.setattr(fastervqa, "load_state", lambda name: asked.append(name) or state)

    def make(threshold=0.0, **options):
        options = {"variant": "mt", **options}
        stage = Quality(QualityConfig(model="fastervqa", threshold=threshold, fastervqa=options))
        stage.setup()
        assert asked == list(stage.weights()) == ["fastervqa"]
        return stage

    return make


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", frames=FRAMES, size=SIZE)


def clip_of(film, clip_id):
    facts = SourceFrames(film, budget=0).facts
    return Clip(clip_id, film, film.parent, facts={"probe": facts})


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_a_clip_scores_the_same_on_any_number_of_cores_and_by_another_id_nearly_so(
    make_stage, film, set_threads
):
    stage = make_stage()
    set_threads(1)
    first, other = (stage.process(clip_of(film, name)) for name in ("a", "b"))
    set_threads(2)
    assert stage.process(clip_of(film, "a")) == first
    assert first.facts["raw"] != other.facts["raw"]
    assert first.facts["raw"] == pytest.approx(other.facts["raw"], abs=0.05)
    assert first.score == first.facts["score"] == pytest.approx(MT.score(first.facts["raw"]), 1e-3)
    plan = Plan.make(MT, FRAMES, SIZE, "clip", "a")
    assert first.facts["looked_at"] == sorted(set(plan.frames.tolist()))
    assert first.facts["spread"] is None


def rated_at(stage, monkeypatch, *raws):
    """Let the network find these raw scores, one a draw, poorest at the third pair of frames."""
    maps = np.array(raws)[:, None, None, None] + np.zeros((len(raws), 8, 7, 7))
    maps[:, 2] -= 0.07
    maps[:, 3:] += 0.014
    monkeypatch.setattr(stage._model, "rate", lambda clips: maps[: len(clips)])


def test_a_rejected_clip_is_told_why(make_stage, film, monkeypatch):
    stage = make_stage(threshold=None, sampling="centre")
    rated_at(stage, monkeypatch, MT.mean + 0.1 * MT.deviation)
    with pytest.raises(Rejected) as rejected:
        stage.process(clip_of(film, "a"))
    worst = (FRAMES - 16 + 1) // 2 + 4
    assert rejected.value.reason == (
        "quality 0.52 is below the threshold 0.60 (FasterVQA rates it 0.1 standard deviations"
        f" above the average of its reference videos, lowest near frame {worst})"
    )
    assert rejected.value.score == rejected.value.facts["score"]


def test_draws_are_averaged_before_they_are_rescaled_and_their_spread_is_told(
    make_stage, film, monkeypatch
):
    stage = make_stage(draws=3)
    raws = [0.12, 0.15, 0.21]
    rated_at(stage, monkeypatch, *raws)
    product = stage.process(clip_of(film, "a"))
    assert product.facts["raw"] == pytest.approx(0.16, abs=1e-6)
    assert product.score == pytest.approx(MT.score(0.16), abs=1e-6)
    spread = np.std([MT.score(raw) for raw in raws], ddof=1)
    assert product.facts["spread"] == pytest.approx(spread, abs=1e-6)
    assert len(product.facts["looked_at"]) > 16


class Levels(torch.nn.Module):
    """A network that rates pixels by their level, and remembers its batches."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.batches = []

    def forward(self, clips):
        self.batches.append(len(clips))
        return clips.mean(dim=1, keepdim=True)


def test_clips_are_normalised_and_rated_batch_by_batch(make_stage, monkeypatch):
    model, levels = make_stage()._model, Levels()
    monkeypatch.setattr(model, "_net", levels)
    clips = np.arange(6, dtype=np.uint8).repeat(2 * 4 * 4 * 3).reshape(6, 2, 4, 4, 3)
    maps = model.rate(clips)
    assert levels.batches == [4, 2]
    mean, deviation = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    expected = ((np.arange(6)[:, None] - mean) / deviation).mean(axis=1)
    np.testing.assert_allclose(maps, expected[:, None, None, None] + np.zeros((2, 4, 4)), atol=1e-6)


def test_only_the_choice_of_the_network_imports_torch():
    code = (
        "import sys, stages.quality as q; q.Quality(q.QualityConfig(model='fastervqa')).weights();"
    )
    code += "q.Quality(q.QualityConfig()).setup(); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
