"""Metrics of faces: light error, light instability, keypoints; and their extractor."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics.base import CaseFeatures
from evaluation.metrics.deca_light import DecaLight
from evaluation.metrics.faces import Faces
from evaluation.metrics.ground import Ground
from evaluation.metrics.identity import FaceVectors
from evaluation.metrics.light_error import LightError, angle_sine
from evaluation.metrics.light_instability import LightInstability
from evaluation.metrics.pose import Pose
from stages.landmarks import Landmarks
from stages.matting import Matting
from stages.models.deca.model import Deca
from stages.models.face_geometry import FaceTrack
from stages.models.light import LUMINANCE
from tests.portrait_films import FRAMES, case, features, pan, side_light
from tests.synthetic_flame import synthetic_weights

LIGHT_ERRORS = [
    LightError("mesh", colours=colours, scale_free=free)
    for free in (False, True)
    for colours in ("rgb", "luminance")
]


@pytest.fixture(scope="module")
def faces():
    extractor = Faces("mesh")
    extractor.setup()
    return extractor


@pytest.fixture(scope="module")
def lit(faces):
    """Features of the film under light from the left to light from the right."""
    return {s: features(faces, side_light(pan(), s)) for s in (-0.5, -0.25, 0.0, 0.25, 0.5)}


@pytest.mark.parametrize("feed", [1, 3])
def test_faces_do_not_depend_on_how_frames_come(faces, lit, feed):
    found = features(faces, side_light(pan(), 0.25), feed)
    for name, values in lit[0.25].items():
        np.testing.assert_array_equal(found[name], values)


def test_a_frame_without_a_face_is_nan_and_costs_no_other(faces, lit):
    film = side_light(pan(), 0.25)
    film[2] = 128
    found = features(faces, film)
    for name in ("light", "luminance", "landmarks"):
        assert np.isnan(found[name][2]).all()
    rest = [t for t in range(FRAMES) if t != 2]
    np.testing.assert_array_equal(found["light"][rest], lit[0.25]["light"][rest])


@pytest.mark.parametrize("metric", LIGHT_ERRORS, ids=lambda m: m.info.name)
@pytest.mark.parametrize("given_as", ["picture", "numbers"])
def test_light_error_falls_towards_the_target_and_rises_away_from_it(faces, lit, metric, given_as):
    target = lit[0.5]
    by = {"target": target} if given_as == "picture" else {}
    wanted = target["light"].mean(axis=0)
    strengths = sorted(lit)
    errors = [metric.frames(case(faces, wanted, output=lit[s], **by)).mean() for s in strengths]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.25 * errors[0]


def test_light_error_is_the_distance_of_the_coefficients(faces):
    estimate = np.zeros((2, 9, 3), np.float32)
    estimate[1, 3] = (3, 0, 4)
    grey = (estimate @ LUMINANCE).astype(np.float32)
    found = {"light": estimate, "luminance": grey}
    errors = {
        colours: LightError("mesh", colours=colours).frames(
            case(faces, np.zeros((9, 3), np.float32), output=found)
        )
        for colours in ("rgb", "luminance")
    }
    np.testing.assert_allclose(errors["rgb"], [0, 5])
    np.testing.assert_allclose(errors["luminance"], [0, (3, 0, 4) @ LUMINANCE], rtol=1e-6)


@given(st.floats(0.01, 100), st.floats(0, np.pi))
def test_scale_free_distance_is_that_of_the_best_scale(scale, angle):
    wanted = np.array([2.0, 0.0])
    estimate = scale * np.array([[np.cos(angle), np.sin(angle)]])
    scales = np.linspace(0, 2 / scale, 20001)[:, None]
    best = np.linalg.norm(scales * estimate - wanted, axis=1).min() / 2
    assert angle_sine(estimate, wanted)[0] == pytest.approx(best, abs=2e-4)


def test_animation_wants_the_light_of_the_portrait(faces, lit):
    metric = LightError("mesh")
    near, far = (
        metric.frames(case(faces, output=lit[0.25], driving=lit[0.25], reference=lit[s])).mean()
        for s in (0.5, -0.5)
    )
    assert near < far


def test_a_target_without_a_face_leaves_no_light_error(faces, lit):
    blank = features(faces, np.full((1, 160, 160, 3), 90, np.uint8))
    found = case(faces, lit[0.5]["light"][0], output=lit[0.5], target=blank)
    assert np.isnan(LightError("mesh").frames(found)).all()


@pytest.mark.parametrize("wanted", [np.zeros((9, 3), np.float32), None], ids=["relit", "animated"])
def test_no_other_target_takes_the_place_of_one_that_failed(faces, lit, wanted):
    role = "reference" if wanted is None else "target"
    found = CaseFeatures({"output": {"faces": lit[0.5]}}, wanted, films=frozenset({role}))
    with pytest.raises(ValueError, match=f"faces found nothing in the {role} film"):
        LightError("mesh").frames(found)


def test_a_new_version_of_a_stage_is_another_look(monkeypatch):
    before = Faces("mesh").digest, Ground().digest, FaceVectors("local_binary").digest
    monkeypatch.setattr(Landmarks, "version", 99)
    monkeypatch.setattr(Matting, "version", 99)
    after = Faces("mesh").digest, Ground().digest, FaceVectors("local_binary").digest
    assert not set(before) & set(after)


def test_instability_is_0_of_a_copy_and_rises_as_the_light_swings(faces, lit):
    metric = LightInstability("mesh")
    assert not metric.frames(case(faces, output=lit[0.0], driving=lit[0.0])).any()
    swings = []
    for strength in (0.0, 0.1, 0.3):
        film = np.concatenate(
            [side_light(pan()[t : t + 1], strength * (-1) ** t) for t in range(FRAMES)]
        )
        swings.append(metric.frames(case(faces, output=film, driving=lit[0.0])).mean())
    assert swings == sorted(swings)
    assert swings[2] > 2.5 * swings[1] > 0


def test_instability_rises_where_frames_are_shuffled(faces):
    steady = np.concatenate(
        [side_light(pan()[t : t + 1], s) for t, s in enumerate(np.linspace(-0.5, 0.5, FRAMES))]
    )
    found = features(faces, steady)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = found | {"luminance": found["luminance"][order]}
    metric = LightInstability("mesh")
    assert metric.frames(case(faces, output=shuffled, driving=found)).mean() > 0


@given(st.floats(-20, 20), st.floats(-20, 20), st.sampled_from([128, 256, 512]))
def test_pose_is_the_mean_shift_of_coordinates_at_256_pixels(right, down, size):
    points = np.random.default_rng(1).uniform(0, size, (3, 478, 3))
    moved = points + np.array([right, down, 7])
    found = CaseFeatures(
        {
            role: {"faces": {"landmarks": each, "size": np.array(size)}}
            for role, each in (("output", moved), ("driving", points))
        }
    )
    wanted = (abs(right) + abs(down)) / 2 * 256 / size
    np.testing.assert_allclose(Pose("mesh").frames(found), [wanted] * 3, atol=1e-3)


def test_pose_sees_by_how_much_a_portrait_was_shifted(faces, lit):
    shifted = np.roll(side_light(pan(), 0.0), 4, axis=2)
    errors = Pose("mesh").frames(case(faces, output=shifted, driving=lit[0.0]))
    # Four pixels of 160 along one of two axes.
    np.testing.assert_allclose(errors, 4 / 2 * 256 / 160, atol=0.6)


def test_an_output_without_faces_has_no_values_and_does_not_fail(faces, lit):
    found = case(faces, lit[0.5]["light"][0], output=np.zeros_like(pan()), driving=lit[0.0])
    for metric in (*LIGHT_ERRORS, LightInstability("mesh"), Pose("mesh")):
        assert np.isnan(metric.frames(found)).all()


def test_all_face_metrics_share_one_extractor():
    metrics = [*LIGHT_ERRORS, LightInstability("mesh"), Pose("mesh")]
    assert len({e.digest for metric in metrics for e in metric.extractors().values()}) == 1


def test_decas_light_is_that_of_the_geometry_model(lit):
    weights = synthetic_weights()
    track = FaceTrack(lit[0.0]["landmarks"][:2], np.ones(2, bool), 25.0, 160)
    frames = list(side_light(pan(), 0.0)[:2])
    device = torch.device("cpu")
    options = {"box_window": 0.0, "motion_window": 0.0, "light_window": 0.0, "device": device}
    wanted = Deca(**options, identity="frame", load=weights.__getitem__).fit(frames, track).light
    found = DecaLight(load=weights.__getitem__)(frames, track.points)
    np.testing.assert_allclose(found.rgb, wanted, rtol=0, atol=1e-6)
