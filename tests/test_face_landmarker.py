"""The official ``.task`` bundle, against MediaPipe Tasks' own numbers; and damaged bundles."""

from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import WeightsError
from infra.weights import weight_path
from stages.clip import Clip
from stages.face_track import track_landmarks
from stages.landmarks import Landmarks, LandmarksConfig
from stages.models.face_landmarker import bundle
from stages.models.face_landmarker.blendshapes import BLENDSHAPES, LANDMARKS
from stages.models.face_landmarker.canonical import CanonicalFace
from stages.models.face_landmarker.model import FaceLandmarker
from stages.models.face_landmarker.transform import face_transforms
from stages.models.faces import face_landmarks, face_model
from stages.models.litert import LiteNet
from stages.models.roi import Roi
from tests.mediapipe_goldens import NAMES, Goldens


@pytest.fixture(scope="module")
def goldens(shared) -> Goldens:
    return Goldens(shared / "golden" / "perception")


@pytest.fixture(scope="module")
def task(shared) -> Iterator[Path]:
    """The official bundle, found by the registry as a file that a user put there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMELIGHT_WEIGHTS", str(shared / "weights"))
        yield weight_path("face_landmarker")


@pytest.fixture(scope="module")
def model(task) -> FaceLandmarker:
    return FaceLandmarker()


def mediapipes_stretch(region: Roi, picture: np.ndarray) -> float:
    """What MediaPipe Tasks multiplies depth by where a face leans in a picture not square."""
    height, width = picture.shape[:2]
    return float(np.hypot(np.cos(region.angle), np.sin(region.angle) * width / height))


@pytest.mark.parametrize("name", NAMES)
def test_landmarks_are_mediapipes(goldens, model, name):
    picture = goldens.picture(name)
    region = model.detect(picture)[0].roi()
    mesh = model.mesh(picture, region)
    assert mesh.score > 0.99
    away = np.abs(mesh.points - goldens.pixels(name, "tasks_landmarks478"))
    assert away[:, :2].max() < 0.03
    assert away[:, 2].mean() < 1.5
    stretched = mesh.points * (1, 1, mediapipes_stretch(region, picture))
    np.testing.assert_allclose(stretched, goldens.pixels(name, "tasks_landmarks478"), atol=0.05)


def test_landmarks_of_stills_are_within_a_pixel_of_mediapipes(goldens, task):
    flat, deep = [], []
    for name in NAMES:
        picture = goldens.picture(name)
        points = face_landmarks(picture, "face_landmarker")
        away = points - goldens.pixels(name, "tasks_landmarks478")
        away *= 512 / max(picture.shape)
        flat.append(np.linalg.norm(away[:, :2], axis=1).mean())
        deep.append(np.linalg.norm(away, axis=1).mean())
    assert max(flat) < 0.02
    assert np.mean(deep) < 0.4  # with the depth that MediaPipe stretches


@pytest.mark.parametrize("name", NAMES)
def test_blendshapes_and_transform_are_mediapipes_of_its_landmarks(goldens, model, name):
    height, width = goldens.picture(name).shape[:2]
    points = goldens.pixels(name, "tasks_landmarks478")[None]
    told = model.describe(points, width=width, height=height)
    golden = goldens.arrays
    np.testing.assert_allclose(
        told["blendshapes"][0], golden[f"{name}_tasks_blendshapes52"], atol=1e-5
    )
    np.testing.assert_allclose(told["transform"][0], golden[f"{name}_tasks_matrix"], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_blendshapes_and_transform_of_a_picture_are_mediapipes(goldens, model, name):
    picture = goldens.picture(name)
    height, width = picture.shape[:2]
    region = model.detect(picture)[0].roi()
    points = model.mesh(picture, region).points[None]
    told = model.describe(points, width=width, height=height)
    golden = goldens.arrays
    np.testing.assert_allclose(
        told["blendshapes"][0], golden[f"{name}_tasks_blendshapes52"], atol=0.005
    )
    stretched = points * (1, 1, mediapipes_stretch(region, picture))
    (transform,) = model.describe(stretched, width=width, height=height)["transform"]
    np.testing.assert_allclose(transform, golden[f"{name}_tasks_matrix"], atol=2e-3)


def test_the_names_of_the_blendshapes_are_mediapipes(goldens):
    assert list(BLENDSHAPES) == goldens.facts["blendshape_names"]
    assert len(set(LANDMARKS)) == 146


def test_the_stage_tells_blendshapes_and_transform_of_its_landmarks(task, model, tmp_path):
    stage = Landmarks(LandmarksConfig(model="face_landmarker"))
    assert stage.weights() == ("face_landmarker",)
    stage.setup()
    clip = Clip("clip", weight_path("clip_carphone_pristine"), tmp_path)
    clip.facts["probe"] = clip.source.facts
    product = stage.process(clip)
    with np.load(product.files["landmarks.npz"]) as archive:
        arrays = {name: archive[name] for name in archive.files}
    assert product.facts["coverage"] == 1
    assert arrays["points"].shape == (120, 478, 3)
    width, height = clip.source.size
    told = model.describe(arrays["points"], width=width, height=height)
    for name, shape in (("blendshapes", (120, 52)), ("transform", (120, 4, 4))):
        assert arrays[name].shape == shape
        assert arrays[name].dtype == np.float32
        np.testing.assert_array_equal(arrays[name], told[name])
    assert 20 < -arrays["transform"][:, 2, 3].mean() < 80  # cm from the camera

    # The same face for those who have frames and no stage.
    track = track_landmarks(clip.source, fps=float(clip.source.fps), model="face_landmarker")
    np.testing.assert_array_equal(track.points, arrays["points"])
    np.testing.assert_array_equal(track.valid, arrays["valid"])
    assert track.size == width


def test_frames_without_a_face_make_no_track(task):
    frames = [np.full((64, 64, 3), 90, np.uint8)] * 3
    assert track_landmarks(frames, fps=25, model="face_landmarker") is None


def test_a_track_needs_the_frames_rate():
    with pytest.raises(ValueError, match="fps = 0 must be above 0"):
        track_landmarks([], fps=0)


def test_the_nets_are_loaded_once(task):
    assert face_model("face_landmarker") is face_model("face_landmarker")


@given(
    distance=st.floats(10, 100),
    aside=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
    roll=st.floats(-3, 3),
    height=st.integers(100, 2000),
    aspect=st.floats(0.5, 2),
)
def test_a_flat_face_is_found_where_it_was_put(distance, aside, roll, height, aspect):
    rng = np.random.default_rng(0)
    shape = rng.uniform(-8, 8, (468, 3)) * (1, 1, 0)
    face = CanonicalFace(shape, rng.uniform(0, 1, 468))
    c, s = np.cos(roll), np.sin(roll)
    pose = np.array([[c, -s, 0, aside[0]], [s, c, 0, aside[1]], [0, 0, 1, -distance], [0, 0, 0, 1]])
    placed = shape @ pose[:3, :3].T + pose[:3, 3]
    focal = height / (2 * np.tan(np.radians(63) / 2))
    width = height * aspect
    x, y = focal * placed[:, 0] / distance, focal * placed[:, 1] / distance
    points = np.column_stack([width / 2 + x, height / 2 - y, np.zeros(468)])
    (found,) = face_transforms(points[None], face, width=width, height=height)
    np.testing.assert_allclose(found, pose, atol=1e-3)


@given(st.binary(max_size=200))
def test_metadata_of_another_kind_is_refused(metadata):
    with pytest.raises(WeightsError, match="bad face landmarker bundle: geometry_pipeline"):
        CanonicalFace.parse(metadata)


def test_a_truncated_bundle_is_refused(task, tmp_path, monkeypatch):
    cut = tmp_path / "cut.task"
    cut.write_bytes(task.read_bytes()[:2_000_000])
    monkeypatch.setattr("stages.models.face_landmarker.model.weight_path", lambda name: cut)
    with pytest.raises(WeightsError, match=r"cut\.task is no whole zip archive") as refusal:
        FaceLandmarker()
    assert refusal.value.hint == "pull it again: limelight weights pull face_landmarker"


def test_a_changed_byte_in_a_bundle_is_noticed(task, tmp_path):
    data = bytearray(task.read_bytes())
    data[1_000_000] ^= 1
    (tmp_path / "bad.task").write_bytes(data)
    with pytest.raises(WeightsError, match=r"no whole zip archive .*Bad CRC-32"):
        bundle.read_bundle(tmp_path / "bad.task")


def test_a_bundle_without_a_member_is_refused_with_its_name(tmp_path):
    with ZipFile(tmp_path / "some.task", "w") as archive:
        archive.writestr(bundle.DETECTOR, b"net")
        archive.writestr(bundle.LANDMARKS, b"net")
    with pytest.raises(WeightsError, match=r"has no member face_blendshapes\.tflite"):
        bundle.read_bundle(tmp_path / "some.task")


def test_a_member_that_would_fill_the_memory_is_not_read(tmp_path):
    with ZipFile(tmp_path / "bomb.task", "w", ZIP_DEFLATED) as archive:
        archive.writestr(bundle.DETECTOR, bytes(20_000_000))
        for name in (bundle.LANDMARKS, bundle.BLENDSHAPES, bundle.GEOMETRY):
            archive.writestr(name, b"")
    with pytest.raises(WeightsError, match=r"face_detector\.tflite .* would take 20000000 bytes"):
        bundle.read_bundle(tmp_path / "bomb.task")


def test_a_member_that_is_no_net_is_refused_with_its_name():
    with pytest.raises(WeightsError, match=r"face_detector\.tflite is no TensorFlow Lite net"):
        LiteNet(bundle.DETECTOR, b"neither this nor that")
