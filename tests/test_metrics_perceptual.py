"""LPIPS, ID and the random Fréchet distances as metrics, and their stand-ins' formulas."""

import zlib

import cv2
import matplotlib.image
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import cbook

from evaluation.frechet.samples import Samples
from evaluation.metrics import identity, lpips
from evaluation.metrics.base import CaseFeatures
from evaluation.metrics.frechet_embedded import CLIP, RandomFrechet
from evaluation.metrics.identity import FaceVectors, Identity
from evaluation.metrics.lpips import SourceLpips, Steps, TemporalLpips
from evaluation.metrics.perceivers import PERCEIVERS
from evaluation.models.local_binary import BINS, CELLS, SIZE, local_binary_vectors
from evaluation.models.lpips import Lpips
from evaluation.models.random_features import RandomNet, RandomPerceptual, random_signs
from infra.weights import pull
from stages.models.arcface.embed import FaceEmbedder
from stages.models.nets import load_state, ready_net
from tests.portrait_films import blurred, case, features, noisy, pan, side_light
from tests.rule import golden_facts, rule_weight

VECTORS = FaceVectors("local_binary").name
LIGHT = np.zeros((9, 3), np.float32)


@pytest.fixture(scope="module")
def coder() -> torch.nn.Module:
    """LPIPS's own network with the goldens' trunk, as if its weights were here."""
    pull("lpips_alex_heads")
    facts, keys = golden_facts("lpips"), golden_facts("lpips_keys")["alex"]
    trunk = {
        ours: torch.from_numpy(rule_weight(theirs, tuple(keys[theirs][0])))
        for theirs, ours in facts["alex_trunk_key_map"].items()
    }
    state = trunk | load_state("lpips_alex_heads")
    return ready_net(Lpips("alex"), state, name="golden")


def ready(extractor):
    extractor.setup()
    return extractor


@pytest.fixture(scope="module")
def faces() -> FaceVectors:
    return ready(FaceVectors("local_binary"))


def another_person(frames: int = 6) -> np.ndarray:
    """Grace Hopper, cut as `pan` is."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        picture = matplotlib.image.imread(file, format="jpg")[:512, :512]
    small = cv2.resize(picture, (160, 160), interpolation=cv2.INTER_AREA)
    return np.repeat(small[None], frames, axis=0)


# However frames come.


@pytest.mark.parametrize("feed", [1, 3, 16])
def test_values_do_not_depend_on_how_frames_are_fed(faces, feed):
    """Bit for bit, at lengths that fill no chunk."""
    film = np.concatenate([pan(), noisy(pan(), 8), pan()])[:17]
    extractors = [
        *(
            ready(metric("random").extractors()["output"])
            for metric in (TemporalLpips, SourceLpips)
        ),
        *(ready(RandomFrechet(kind).extractors()["output"]) for kind in ("pictures", "clips")),
        faces,
    ]
    for extractor in extractors:
        at_once, fed = features(extractor, film, 17), features(extractor, film, feed)
        assert fed.keys() == at_once.keys()
        for key, value in at_once.items():
            np.testing.assert_array_equal(fed[key], value, strict=True)


# LPIPS.


@pytest.mark.parametrize("name", ["alex", "random"])
def test_noise_raises_lpips_step_by_step(name, coder, monkeypatch):
    if name == "alex":
        monkeypatch.setattr("evaluation.models.lpips.ready_net", lambda *_, **__: coder)
        monkeypatch.setattr("evaluation.models.lpips.load_state", lambda weight: {})
    temporal, source = TemporalLpips(name), SourceLpips(name)
    steps, codes = (ready(metric.extractors()["output"]) for metric in (temporal, source))
    still = np.repeat(pan()[:1], 6, axis=0)
    restless, away = [], []
    for deviation in (0, 4, 8, 16, 32):
        film = noisy(still, deviation)
        restless.append(temporal.frames(case(steps, output=film)).mean())
        away.append(source.frames(case(codes, output=film, driving=still)).mean())
    for values in (restless, away):
        assert values[0] == 0
        assert (np.diff(values) > 0).all()


def test_a_film_has_one_step_less_than_frames():
    metric = TemporalLpips("random")
    steps = ready(metric.extractors()["output"])
    for length in (1, 2, 6):
        assert metric.frames(case(steps, output=pan()[:length])).shape == (length - 1,)


def test_steps_are_the_distances_of_adjacent_frames(monkeypatch):
    """A coder whose codes are the frames' means makes a film's steps known."""
    offer = PERCEIVERS["random"].offer
    monkeypatch.setattr(type(offer), "load", lambda self: lambda: _mean_coder)
    levels = np.array([0, 3, 3, 10, 4, 4, 5, 200, 0])
    film = np.zeros((len(levels), 8, 8, 3), np.uint8) + levels[:, None, None, None].astype(np.uint8)
    metric = TemporalLpips("random")
    found = metric.frames(case(ready(metric.extractors()["output"]), output=film))
    np.testing.assert_array_equal(found, np.diff(levels) ** 2)


def _mean_coder(frames: np.ndarray) -> np.ndarray:
    return frames.mean(axis=(1, 2, 3))[:, None].astype(np.float32)


def test_codes_kept_in_half_precision_give_lpips_to_1e_5(coder):
    with torch.inference_mode():
        pictures = [noisy(pan(), d)[:, :64, :64] for d in (0, 5, 40)]
        batches = [torch.from_numpy(p.transpose(0, 3, 1, 2) / 127.5 - 1).float() for p in pictures]
        exact = [coder(batch).numpy() for batch in batches]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        kept = lpips._squared_distances(exact[a].astype(np.float16), exact[b].astype(np.float16))
        np.testing.assert_allclose(kept, lpips._squared_distances(exact[a], exact[b]), atol=1e-5)


def test_features_of_two_networks_stand_side_by_side():
    names = [Steps(coder).name for coder in PERCEIVERS]
    names += [FaceVectors(name).name for name in ("local_binary", "arcface_w600k_r50")]
    assert len(set(names)) == len(names)


def test_films_of_different_lengths_are_no_pair():
    metric = SourceLpips("random")
    codes = ready(metric.extractors()["output"])
    with pytest.raises(ValueError, match="5 frames of output, but 6 that drove it"):
        metric.frames(case(codes, output=pan()[:5], driving=pan()))


# ID.


def test_another_identity_has_a_lower_value_than_any_spoiling(faces):
    metric = Identity("local_binary")
    film = pan()
    original = features(faces, film)

    def value(output):
        return metric.frames(case(faces, LIGHT, output=output, reference=original)).mean()

    assert value(film) == pytest.approx(1, abs=1e-6)
    other = value(another_person())
    for spoilt in (noisy(film, 4), side_light(film, 0.4), blurred(film, 0.7)):
        assert other + 0.05 < value(spoilt) < 1


def test_a_frame_without_a_face_is_nan_alone(faces):
    film = pan().copy()
    film[2] = 128
    values = Identity("local_binary").frames(case(faces, LIGHT, output=film, reference=pan()))
    assert np.flatnonzero(np.isnan(values)).tolist() == [2]


def vectors(*rows: float) -> dict[str, np.ndarray]:
    return {"vector": np.array([[np.cos(a), np.sin(a)] for a in rows], np.float32)}


@pytest.mark.parametrize("portrait", [0, 2, None])
def test_an_animated_portrait_is_held_against_the_first_face_of_the_reference(portrait):
    angles = np.full(4, np.nan)
    if portrait is not None:
        angles[portrait:] = [0.3, *[1.0] * (3 - portrait)]
    found = {"output": vectors(0.3, 0.8, 0.1), "reference": vectors(*angles)}
    named = {role: {VECTORS: each} for role, each in found.items()}
    values = Identity("local_binary").frames(CaseFeatures(named))
    wanted = np.cos([0, 0.5, -0.2]) if portrait is not None else [np.nan] * 3
    np.testing.assert_allclose(values, wanted, atol=1e-6)


def test_a_relit_film_is_held_against_itself_frame_by_frame():
    found = {"output": vectors(0.1, 0.2), "reference": vectors(0.1, 0.5)}
    named = {role: {VECTORS: each} for role, each in found.items()}
    values = Identity("local_binary").frames(CaseFeatures(named, LIGHT))
    np.testing.assert_allclose(values, np.cos([0, 0.3]), atol=1e-6)
    longer = {**named, "reference": {VECTORS: vectors(0.1, 0.5, 0.9)}}
    with pytest.raises(ValueError, match="2 frames of output, but 3 that were relit"):
        Identity("local_binary").frames(CaseFeatures(longer, LIGHT))


def test_arcface_is_asked_with_our_landmarks(monkeypatch):
    """Only the faces found reach the network, in the order of their frames."""
    asked = []

    class Net:
        def __call__(self, faces: np.ndarray) -> np.ndarray:
            asked.append(faces.shape)
            vector = np.zeros((len(faces), 512), np.float32)
            vector[:, :2] = faces.mean(axis=(1, 2))[:, :2]
            return vector

    embedder = FaceEmbedder.__new__(FaceEmbedder)
    embedder._net, embedder._batch = Net(), 16
    monkeypatch.setattr(identity, "FaceEmbedder", lambda name, batch: embedder)
    film = pan().copy()
    film[1] = 0
    found = features(ready(FaceVectors("arcface_w600k_r50")), film)["vector"]
    assert asked == [(5, 112, 112, 3)]
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False, False, False, False]
    np.testing.assert_allclose(np.linalg.norm(np.delete(found, 1, 0), axis=1), 1, atol=1e-6)


# Local binary patterns.


def one_face(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 120, (1, 112, 112, 3), dtype=np.uint8)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 15))
def test_patterns_know_nothing_of_brightness_and_contrast(seed, offset):
    face = one_face(seed)
    np.testing.assert_array_equal(
        local_binary_vectors(face), local_binary_vectors(2 * face + np.uint8(offset))
    )


def test_a_flat_face_has_one_pattern_in_each_cell():
    """All neighbours are as bright: the last of the 58 uniform patterns."""
    (vector,) = local_binary_vectors(np.full((1, 112, 112, 3), 77, np.uint8))
    cells = vector.reshape(CELLS * CELLS, BINS)
    np.testing.assert_allclose(cells[:, 57], 1 / CELLS, rtol=1e-6)
    assert np.count_nonzero(vector) == CELLS * CELLS


def test_patterns_are_counted_in_their_own_cell():
    face, other = one_face(1), one_face(1)
    other[:, 40:44, 72:76] = 255 - other[:, 40:44, 72:76]  # inside the cell (2, 4)
    apart = local_binary_vectors(face) != local_binary_vectors(other)
    assert apart.shape == (1, SIZE)
    changed = apart.reshape(CELLS, CELLS, BINS).any(axis=2)
    assert np.argwhere(changed).tolist() == [[2, 4]]


def test_a_bright_dot_is_a_pattern_of_its_own():
    """No neighbour is as bright as the dot; everywhere else all are, the dot or not."""
    face = np.zeros((1, 112, 112, 3), np.uint8)
    face[:, 56, 56] = 255
    shares = np.square(local_binary_vectors(face)).reshape(CELLS, CELLS, BINS)
    counts = np.rint(shares[3, 3] * 112**2).astype(int)
    assert counts[[0, 57]].tolist() == [1, 255]


# Random networks.


def test_random_signs_are_the_same_on_every_machine():
    signs = random_signs("perceptual.0", (16, 3, 3, 3))
    assert zlib.crc32(signs.tobytes()) == 1922277837
    assert abs(random_signs("many", (10**5,)).mean()) < 0.01


def test_a_random_net_keeps_the_scale_of_what_it_sees():
    net = RandomNet("scale", (64,) * 5)
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 128, 128))).float()
    # Means of two between the layers take half of uncorrelated noise's deviation away.
    sizes = [x.square().mean().sqrt().item() for x in net(noise)]
    assert all(0.1 < size < 10 for size in sizes)


def test_random_distances_lie_between_0_and_1():
    net = RandomPerceptual()
    extremes = np.stack(
        [np.zeros((3, 64, 64)), np.ones((3, 64, 64)), np.eye(64)[None].repeat(3, 0)]
    )
    codes = net(torch.from_numpy(2 * extremes - 1).float()).numpy()
    apart = np.square(codes[:, None] - codes[None]).sum(axis=2)
    assert (apart <= 1).all()
    assert apart[0, 1] > 0.1
    np.testing.assert_allclose(np.square(codes).sum(axis=1), 0.5, atol=1e-5)


# Fréchet distances in a random embedding.


@pytest.mark.parametrize("kind", ["pictures", "clips"])
def test_spoiling_raises_the_random_frechet_distance_step_by_step(kind):
    metric = RandomFrechet(kind)
    extractor = ready(metric.extractors()["driving"])
    films = [np.roll(pan(16), 8 * k, axis=2) for k in range(4)]

    def statistics(change) -> Samples:
        first, *rest = (metric.statistics(features(extractor, change(film))) for film in films)
        for each in rest:
            first = first.merged(each)
        return first

    real = statistics(lambda film: film)
    for spoil, strengths in ((noisy, (4, 12, 32)), (blurred, (0.7, 3))):
        spoilt = [statistics(lambda film, s=s, f=spoil: f(film, s)) for s in strengths]
        values = [metric.value(each, real).value for each in (real, *spoilt)]
        assert values[0] == pytest.approx(0, abs=1e-6)
        assert (np.diff(values) > 0).all()


def test_clips_know_the_order_of_their_frames():
    metric = RandomFrechet("clips")
    extractor = ready(metric.extractors()["output"])
    film = np.concatenate([pan(16), np.roll(pan(16), 30, axis=1)])
    real = metric.statistics(features(extractor, film))
    shuffled = film[np.random.default_rng(0).permutation(32)]
    assert metric.value(metric.statistics(features(extractor, shuffled)), real).value > 0


def test_what_is_left_of_a_film_is_no_clip():
    metric = RandomFrechet("clips")
    extractor = ready(metric.extractors()["output"])
    for frames, clips in ((CLIP - 1, 0), (CLIP, 1), (2 * CLIP + 3, 2)):
        assert metric.statistics(features(extractor, pan(frames))).count == clips


def test_a_distance_of_few_is_marked_and_of_none_refused():
    metric = RandomFrechet("clips")
    few = Samples.of(np.random.default_rng(0).normal(size=(5, 64)))
    found = metric.value(few, few)
    assert (found.n, found.reals) == (5, 5)
    assert "singular" in found.warning
    with pytest.raises(ValueError, match="0 feature vectors have no covariance"):
        metric.value(Samples.of(np.empty((0, 64))), few)


def test_stand_ins_are_marked_and_stand_beside_nothing_published():
    metrics = [TemporalLpips("random"), SourceLpips("random"), Identity("local_binary")]
    metrics += [RandomFrechet("pictures"), RandomFrechet("clips")]
    infos = [metric.info for metric in metrics]
    assert {info.grade for info in infos} == {"embedded"}
    assert not any(info.published for info in infos)
    assert len({info.name for info in infos}) == len(infos)
