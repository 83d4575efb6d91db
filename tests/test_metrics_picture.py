"""Metrics of the ground, of quality and of cost."""

import numpy as np
import pytest

from evaluation.metrics.background import CEILING, BackgroundPsnr
from evaluation.metrics.base import CaseFeatures
from evaluation.metrics.cost import PeakGpuMemory, PeakMemory, SecondsPerFrame
from evaluation.metrics.flicker import GroundFlicker
from evaluation.metrics.fragments import FragmentPass
from evaluation.metrics.ground import GRID, Ground
from evaluation.metrics.image_quality import FrameNaturalness, ImageQuality
from evaluation.metrics.video_quality import ClipNaturalness, FragmentScores, VideoQuality
from stages.models.fastervqa.fragments import Plan
from stages.models.fastervqa.variants import VARIANTS
from stages.models.naturalness import Naturalness
from tests.portrait_films import SIDE, blurred, case, features, noisy, pan

LIGHT = np.zeros((9, 3), np.float32)


@pytest.fixture(scope="module")
def ground():
    extractor = Ground()
    extractor.setup()
    return extractor


@pytest.mark.parametrize("make", [Ground, FrameNaturalness, ClipNaturalness])
@pytest.mark.parametrize("feed", [1, 3])
def test_features_do_not_depend_on_how_frames_come(make, feed):
    extractor = make()
    extractor.setup()
    whole = features(extractor, pan())
    for name, values in features(extractor, pan(), feed).items():
        np.testing.assert_array_equal(values, whole[name])


def test_the_ground_is_sampled_not_averaged(ground):
    found = features(ground, pan()[:1])
    at = (np.arange(GRID) + 0.5) * SIDE / GRID
    np.testing.assert_array_equal(
        found["pixels"][0], pan()[0][np.ix_(at.astype(int), at.astype(int))]
    )
    assert found["matte"][0, 40, 32] > 200 > 20 > found["matte"][0, 2, 60]


def test_a_copy_has_no_flicker_and_the_best_psnr(ground):
    same = case(ground, LIGHT, output=pan(), driving=pan())
    assert not GroundFlicker(ground).frames(same).any()
    assert (BackgroundPsnr(ground).frames(same) == CEILING).all()


def test_noise_lowers_the_psnr_by_what_theory_says_and_raises_the_flicker(ground):
    grey = np.full_like(pan(), 128)
    driving = features(ground, pan()) | {"pixels": features(ground, grey)["pixels"]}
    levels = (2.0, 4.0, 8.0)
    cases = [case(ground, LIGHT, output=noisy(grey, s), driving=driving) for s in levels]
    psnr = [BackgroundPsnr(ground).frames(each).mean() for each in cases]
    flicker = [GroundFlicker(ground).frames(each).mean() for each in cases]
    np.testing.assert_allclose(psnr, 20 * np.log10(255 / np.array(levels)), atol=0.25)
    # The mean absolute difference of two independent normal numbers.
    np.testing.assert_allclose(flicker, 2 / np.sqrt(np.pi) * np.array(levels), rtol=0.05)


def test_what_happens_in_the_portrait_is_no_matter_of_the_ground(ground):
    driving = features(ground, pan())
    portrait = (driving["matte"] > 8)[..., None]
    changed = driving | {"pixels": np.where(portrait, 255 - driving["pixels"], driving["pixels"])}
    found = case(ground, LIGHT, output=changed, driving=driving)
    assert (BackgroundPsnr(ground).frames(found) == CEILING).all()
    assert not GroundFlicker(ground).frames(found).any()


def test_shuffled_frames_raise_the_flicker(ground):
    driving = features(ground, pan())
    order = [3, 0, 5, 1, 4, 2]
    shuffled = {name: values[order] for name, values in driving.items()}
    assert GroundFlicker(ground).frames(case(ground, output=shuffled, driving=driving)).mean() > 0


def test_a_frame_all_portrait_has_no_ground_to_speak_of(ground):
    found = features(ground, pan())
    full = found | {"matte": np.full_like(found["matte"], 255)}
    both = case(ground, LIGHT, output=found, driving=full)
    assert np.isnan(BackgroundPsnr(ground).frames(both)).all()
    assert np.isnan(GroundFlicker(ground).frames(both)).all()


def test_an_animated_portrait_is_not_blamed_for_its_own_ground(ground):
    found = case(ground, output=noisy(pan(), 20), driving=pan())
    assert np.isnan(BackgroundPsnr(ground).frames(found)).all()


@pytest.mark.parametrize("spoil", [blurred, noisy])
@pytest.mark.parametrize("metric", [ImageQuality("naturalness"), VideoQuality("naturalness")])
def test_quality_falls_as_frames_are_spoilt(metric, spoil):
    extractor = metric.extractors()["output"]
    amounts = (0, 1, 2, 4) if spoil is blurred else (0, 4, 8, 16)
    values = [metric.frames(case(extractor, output=spoil(pan(), a))).mean() for a in amounts]
    assert values == sorted(set(values), reverse=True)


def test_image_quality_says_nothing_of_time():
    extractor = FrameNaturalness()
    order = [3, 0, 5, 1, 4, 2]
    found = features(extractor, pan())["score"]
    np.testing.assert_array_equal(features(extractor, pan()[order])["score"], found[order])


def test_video_quality_is_the_stages_score():
    model = Naturalness()
    wanted = model.terms(pan()[model.indices(len(pan()))]).score
    assert features(ClipNaturalness(), pan())["score"] == wanted


class _Rater:
    """Keeps what FasterVQA would be shown, and gives it a raw score above the mean."""

    def rate(self, clips):
        self.clips = clips
        return np.full((1, 16, 7, 7), 0.2, np.float32)


@pytest.mark.parametrize("feed", [1, 16])
@pytest.mark.parametrize("places", ["centre", "dataset"])
def test_fragments_are_those_of_the_published_programs_however_frames_come(
    places, feed, monkeypatch
):
    film = np.random.default_rng(2).integers(0, 256, (40, 256, 256, 3), np.uint8)
    extractor, rater = FragmentScores(places), _Rater()
    monkeypatch.setattr("stages.models.fastervqa.model.FasterVQA", lambda **_: rater)
    extractor.setup()
    found = features(extractor, film, feed)
    plan = Plan.make(VARIANTS["base"], 40, (256, 256), places)
    wanted = [plan.cut(film[index], place) for place, index in enumerate(plan.frames)]
    np.testing.assert_array_equal(rater.clips[0], wanted)
    assert found["score"] == pytest.approx(VARIANTS["base"].score(0.2))


def test_a_short_film_repeats_until_fragments_are_full():
    rater = _Rater()
    film_pass = FragmentPass(6, SIDE, "centre", rater)
    film_pass.add(pan())
    film_pass.finish()
    assert rater.clips.any(axis=(2, 3, 4)).all()


@pytest.mark.parametrize("feed", [1, 3])
def test_liqe_scores_every_frame(feed, monkeypatch):
    def means(frames):
        return frames.mean(axis=(1, 2, 3))

    monkeypatch.setattr("evaluation.models.liqe.load_liqe", lambda: means)
    metric = ImageQuality("liqe")
    (extractor,) = metric.extractors().values()
    extractor.setup()
    found = CaseFeatures({"output": {extractor.name: features(extractor, pan(), feed)}})
    np.testing.assert_array_equal(metric.frames(found), means(pan()))


def test_cost_is_what_was_recorded():
    facts = {"seconds_per_frame": 0.5, "peak_bytes": 3 * 2**20, "peak_gpu_bytes": 2**19}
    recorded = CaseFeatures({}, facts=facts)
    assert SecondsPerFrame().frames(recorded) == [0.5]
    assert PeakMemory().frames(recorded) == [3]
    assert PeakGpuMemory().frames(recorded) == [0.5]
    assert np.isnan(PeakMemory().frames(CaseFeatures({}))).all()
