"""The landmarks stage: following, judging and smoothing, on scripted and on real faces."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from infra.digests import digest_file
from stages.base import Product, Rejected
from stages.clip import Clip
from stages.landmarks import Landmarks, LandmarksConfig
from stages.models.face_detector import Face
from stages.models.face_mesh import Mesh
from stages.models.roi import Roi
from stages.smoothing import smooth_landmarks

WIDTH, HEIGHT = 640, 360
SHAPE = np.random.default_rng(3).uniform(-0.5, 0.5, (468, 3))
SHAPE[0], SHAPE[1] = (-0.5, -0.5, 0), (0.5, 0.5, 0)


@dataclass(frozen=True)
class Head:
    """A face of the script: its centre and size in pixels."""

    x: float
    y: float = 180
    size: float = 100


class ScriptedFaces:
    """A face model that reads the heads of a frame off a script; a picture holds its number."""

    def __init__(self, script: list[list[Head]], *, blind: frozenset[int] = frozenset()) -> None:
        self.script = script
        self.blind = blind  # frames in which the detector sees nothing

    def detect(self, picture, region=None):
        index = int(picture[0, 0, 0])
        region = region or Roi.whole(picture, square=True)
        heads = [] if index in self.blind else self.script[index]
        return [face_of(h) for h in heads if covers(region, h) and 7 * h.size > region.width]

    def mesh(self, picture, region):
        heads = [h for h in self.script[int(picture[0, 0, 0])] if covers(region, h)]
        if not heads:
            return Mesh(SHAPE * region.width + (region.x, region.y, 0), 0.01)
        head = min(heads, key=lambda h: np.hypot(h.x - region.x, h.y - region.y))
        return Mesh(SHAPE * head.size + (head.x, head.y, 0), 1.0)

    def refine(self, picture, points):
        return np.concatenate([points, points[:10]])

    def describe(self, points, *, width, height):
        return {"middle": points[..., 0].mean(axis=1) / width}


def covers(region: Roi, head: Head) -> bool:
    return max(abs(head.x - region.x), abs(head.y - region.y)) < region.width / 2


def face_of(head: Head) -> Face:
    half = head.size / 2
    box = np.array([head.x - half, head.y - half, head.x + half, head.y + half])
    eyes = [(head.x - half / 2, head.y), (head.x + half / 2, head.y)]
    return Face(0.9, box, np.array([*eyes, *[(head.x, head.y)] * 4]))


def run(model: ScriptedFaces, folder: Path, **config) -> tuple[Product, dict[str, np.ndarray]]:
    """The stage's product of a scripted clip at 25 frames a second, and its arrays."""
    frames = [np.full((HEIGHT, WIDTH, 3), i, np.uint8) for i in range(len(model.script))]
    probe = {"fps": "25/1", "image_repeat": 0}
    clip = SimpleNamespace(source=frames, scratch=folder, facts={"probe": probe})
    stage = Landmarks(LandmarksConfig(**config))
    stage._model = model
    product = stage.process(clip)
    with np.load(product.files["landmarks.npz"]) as archive:
        return product, {name: archive[name] for name in archive.files}


def walk(frames: int, *, step: float = 2.0) -> list[list[Head]]:
    return [[Head(200 + step * i)] for i in range(frames)]


def test_every_frame_has_landmarks_score_and_box(tmp_path):
    product, arrays_ = run(ScriptedFaces(walk(40)), tmp_path, smoothing=0)
    assert arrays_["points"].shape == (40, 478, 3)
    assert arrays_["points"].dtype == np.float32
    assert arrays_["valid"].all()
    np.testing.assert_allclose(arrays_["box"][10], [170, 130, 100, 100], atol=1e-3)
    assert product.facts["coverage"] == 1
    assert product.facts["size"] == pytest.approx(100)


def test_what_the_model_reads_from_the_landmarks_is_kept_beside_them(tmp_path):
    script = walk(40)
    script[20] = []
    _, arrays_ = run(ScriptedFaces(script), tmp_path)
    np.testing.assert_array_equal(arrays_["middle"], arrays_["points"][..., 0].mean(1) / WIDTH)


def test_equal_clips_make_equal_bytes(tmp_path):
    digests = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        product, _ = run(ScriptedFaces(walk(20)), tmp_path / name)
        digests.add(digest_file(product.files["landmarks.npz"]))
    assert len(digests) == 1


def test_a_short_gap_is_interpolated_and_marked(tmp_path):
    script = walk(40)
    script[20] = script[21] = []
    _, arrays_ = run(ScriptedFaces(script), tmp_path, smoothing=0)
    assert np.flatnonzero(~arrays_["valid"]).tolist() == [20, 21]
    assert arrays_["score"][20] == 0
    np.testing.assert_allclose(arrays_["box"][20:22, 0], [190, 192], atol=1e-3)


def test_missing_first_and_last_frames_hold_the_nearest(tmp_path):
    script = walk(40)
    script[0] = script[39] = []
    _, arrays_ = run(ScriptedFaces(script), tmp_path, smoothing=0, redetect=1)
    np.testing.assert_array_equal(arrays_["points"][0], arrays_["points"][1])
    np.testing.assert_array_equal(arrays_["points"][39], arrays_["points"][38])


def test_a_long_gap_is_rejected_with_its_length(tmp_path):
    script = walk(100, step=0)
    script[40:47] = [[]] * 7
    with pytest.raises(Rejected, match="no face for 7 frames in a row, allowed 5"):
        run(ScriptedFaces(script), tmp_path, max_gap=5)


def test_a_face_mostly_missing_is_rejected_with_the_share(tmp_path):
    script = [[Head(200)] if i < 28 else [] for i in range(240)]
    with pytest.raises(Rejected, match=r"no face in 212 of 240 frames \(88%\), allowed 10%") as e:
        run(ScriptedFaces(script), tmp_path)
    assert e.value.score == pytest.approx(28 / 240, abs=1e-4)


def test_no_face_at_all_is_rejected(tmp_path):
    with pytest.raises(Rejected, match="no face found in any of 30 frames"):
        run(ScriptedFaces([[]] * 30), tmp_path)


def test_a_small_face_is_rejected_with_its_size(tmp_path):
    script = [[Head(200, size=30)]] * 20
    with pytest.raises(Rejected, match="the face is 30 pixels large, at least 50 asked"):
        run(ScriptedFaces(script), tmp_path, min_face=50)


def test_a_jump_within_the_clip_is_a_cut(tmp_path):
    script = [[Head(200 if i < 20 else 280)] for i in range(40)]
    with pytest.raises(Rejected, match=r"jumps by 0\.80 of its size at frame 20"):
        run(ScriptedFaces(script), tmp_path)


def test_another_face_taking_over_is_a_cut(tmp_path):
    script = [[Head(120)] if i < 25 else [Head(500)] for i in range(50)]
    with pytest.raises(Rejected, match="another face takes over at frame 25: a cut"):
        run(ScriptedFaces(script), tmp_path)


def test_of_several_faces_the_largest_and_most_lasting_is_taken(tmp_path):
    script = [[Head(150, size=80), Head(480, size=120)] for _ in range(40)]
    product, arrays_ = run(ScriptedFaces(script), tmp_path)
    np.testing.assert_allclose(arrays_["box"][5], [420, 120, 120, 120], atol=0.5)
    assert product.facts["faces"] == 2


def test_several_faces_are_rejected_where_asked(tmp_path):
    script = [[Head(150, size=80), Head(480, size=120)] for _ in range(40)]
    with pytest.raises(Rejected, match="2 faces, several at once in 100% of 40 frames"):
        run(ScriptedFaces(script), tmp_path, multi_face="reject")


def test_a_face_that_returns_is_the_same_face(tmp_path):
    script = walk(100, step=0)
    script[40:60] = [[]] * 20
    with pytest.raises(Rejected, match=r"no face in 20 of 100 frames"):
        run(ScriptedFaces(script), tmp_path, max_gap=3, redetect=4)


def test_a_face_in_the_background_is_nobody(tmp_path):
    script = [[Head(150, size=40), Head(480, size=120)] for _ in range(40)]
    product, _ = run(ScriptedFaces(script), tmp_path, multi_face="reject")
    assert product.facts["faces"] == 1


def test_a_detector_that_misses_a_tracked_face_does_not_lose_it(tmp_path):
    _, arrays_ = run(ScriptedFaces(walk(40), blind=frozenset(range(1, 40))), tmp_path)
    assert arrays_["valid"].all()


def test_a_false_detection_beside_a_face_does_not_move_it(tmp_path):
    script = [[Head(200)] if i != 20 else [Head(200), Head(270)] for i in range(40)]
    _, arrays_ = run(ScriptedFaces(script), tmp_path, smoothing=0)
    np.testing.assert_allclose(arrays_["box"][:, 0], 150, atol=1e-3)


tracks = arrays(np.float32, (12, 5, 3), elements=st.floats(0, 500, width=32))


@given(points=tracks)
def test_no_smoothing_changes_nothing(points):
    np.testing.assert_array_equal(smooth_landmarks(points, np.full(12, 100.0), 0), points)


@given(speed=st.floats(-10, 10), sigma=st.floats(0.1, 4))
def test_smoothing_does_not_lag_behind_a_steady_move(speed, sigma):
    ramp = np.arange(40.0)[:, None, None] * np.array([speed, speed / 2, speed / 3])
    smooth = smooth_landmarks(ramp, np.full(40, 100.0), sigma)
    np.testing.assert_allclose(smooth[12:28], ramp[12:28], atol=1e-2)


@given(points=tracks, sigma=st.floats(0.1, 4))
def test_smoothing_is_the_same_backwards(points, sigma):
    sizes = np.full(12, 100.0)
    forwards = smooth_landmarks(points, sizes, sigma)
    backwards = smooth_landmarks(points[::-1], sizes, sigma)[::-1]
    np.testing.assert_allclose(forwards, backwards, rtol=1e-4, atol=1e-3)


def test_smoothing_quiets_a_face_at_rest():
    noise = np.random.default_rng(0).normal(0, 0.15, (100, 50, 3))
    smooth = smooth_landmarks(100 + noise, np.full(100, 100.0), 1.25)
    assert np.diff(smooth, axis=0).std() < 0.4 * np.diff(noise, axis=0).std()


def test_smoothing_keeps_a_blink():
    lid = np.zeros((30, 1, 3))
    lid[14:17, 0, 1] = 3.0  # 3% of the face, for three frames
    smooth = smooth_landmarks(lid, np.full(30, 100.0), 1.25)
    assert smooth[15, 0, 1] > 2.9
    assert abs(smooth[13, 0, 1]) < 0.1


def test_a_config_out_of_range_is_refused():
    with pytest.raises(ValueError, match="min_score"):
        LandmarksConfig(min_score=1.5)


@pytest.fixture(scope="module")
def stage() -> Landmarks:
    stage = Landmarks(LandmarksConfig())
    stage.setup()
    return stage


def process(stage: Landmarks, path: Path, folder: Path) -> Product:
    clip = Clip("clip", path, folder)
    clip.facts["probe"] = clip.source.facts
    return stage.process(clip)


def test_a_face_in_a_wide_picture_is_followed_throughout(stage, shared, tmp_path):
    facts = process(stage, shared / "media" / "lp_s18.mp4", tmp_path).facts
    assert facts["coverage"] == 1
    assert facts["size"] == pytest.approx(279, abs=10)
    assert facts["step"] < 0.05


def test_a_quick_head_with_a_hand_in_front_is_followed_throughout(stage, shared, tmp_path):
    facts = process(stage, shared / "media" / "lp_d12.mp4", tmp_path).facts
    assert facts["coverage"] == 1
    assert facts["step"] > 0.1


def test_a_hall_of_tiny_people_is_rejected(stage, shared, tmp_path):
    with pytest.raises(Rejected, match=r"no face in \d+ of 240 frames") as rejection:
        process(stage, shared / "media" / "konvid_10053703034.mp4", tmp_path)
    assert rejection.value.facts["detected"] > 3


def test_the_landmarks_of_a_still_picture_stand_still(stage, shared, tmp_path):
    product = process(stage, shared / "media" / "target_lighting1.png", tmp_path)
    with np.load(product.files["landmarks.npz"]) as archive:
        points = archive["points"]
    assert len(points) == 16
    assert (points == points[0]).all()
