"""MediaPipe's nets, against MediaPipe's own numbers."""

from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.models.face_detector import FaceDetector, merge_overlapping
from stages.models.face_mesh import FaceMesh
from stages.models.faces import MediapipeFaces, detect_faces, face_landmarks
from stages.models.iris import Iris, eye_roi
from stages.models.roi import Roi
from stages.models.selfie import SelfieSegmentation
from stages.models.topology import (
    IMAGE_LEFT_EYE_CORNERS,
    IMAGE_RIGHT_EYE_CORNERS,
    MESH_POINTS,
    face_mesh_triangles,
)
from tests.mediapipe_goldens import NAMES, Goldens

EXACT = 0.01  # px; what the goldens ask of a warp that equals MediaPipe's


@pytest.fixture(scope="module")
def goldens(shared) -> Goldens:
    return Goldens(shared / "golden" / "perception")


@pytest.fixture(scope="module")
def faces() -> MediapipeFaces:
    return MediapipeFaces()


@pytest.mark.parametrize("name", NAMES)
def test_detection_is_mediapipes(goldens, faces, name):
    (golden,) = goldens.facts["detections_mp_0_10_21"][name]["face_detection_short_range"]
    picture = goldens.picture(name)
    scale = np.array(picture.shape[1::-1])
    (face,) = faces.detect(picture)
    assert face.score == pytest.approx(golden["score"], abs=1e-6)
    corner, side = np.array(golden["box_xmin_ymin_w_h"]).reshape(2, 2) * scale
    np.testing.assert_allclose(face.box, [*corner, *(corner + side)], atol=1e-3)
    np.testing.assert_allclose(face.keypoints, golden["keypoints"] * scale, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_mesh_is_mediapipes(goldens, faces, name):
    picture = goldens.picture(name)
    mesh = faces.mesh(picture, faces.detect(picture)[0].roi())
    assert mesh.score > 0.99
    np.testing.assert_allclose(mesh.points, goldens.pixels(name, "facemesh_plain"), atol=EXACT)


def test_sixty_chained_frames_stay_on_mediapipes_track(goldens, faces):
    region = faces.detect(goldens.carphone[0])[0].roi()
    compared = 0
    for index, picture in enumerate(goldens.carphone[:60]):
        mesh = faces.mesh(picture, region)
        region = mesh.roi()
        golden = goldens.arrays.get(f"carphone_tracking_{index:03d}")
        if golden is not None:
            height, width = picture.shape[:2]
            away = np.linalg.norm((mesh.points - golden * (width, height, width))[:, :2], axis=1)
            assert away.max() < 0.15
            compared += 1
    assert compared > 4


@pytest.mark.parametrize("name", NAMES)
def test_irises_and_eye_contours_are_mediapipes(goldens, name):
    picture, points = goldens.picture(name), goldens.pixels(name, "facemesh_plain")
    net = Iris()
    for side, corners in (("left", IMAGE_LEFT_EYE_CORNERS), ("right", IMAGE_RIGHT_EYE_CORNERS)):
        eye = net.eye(picture, eye_roi(points, corners), mirrored=side == "right")
        # MediaPipe mirrored the whole picture, which rounds a few positions elsewhere.
        for mine, golden in ((eye.iris, f"iris_{side}"), (eye.contour, f"eyecontour_{side}")):
            np.testing.assert_allclose(mine, goldens.pixels(name, golden), atol=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_masks_are_mediapipes(goldens, name):
    picture, golden = goldens.picture(name), goldens.mask(name)
    alpha = cv2.resize(SelfieSegmentation()(picture), picture.shape[1::-1])
    assert np.abs(255 * alpha - golden).mean() < 0.51
    mine, theirs = alpha > 0.5, golden > 127
    assert (mine & theirs).sum() / (mine | theirs).sum() > 0.999


def test_a_picture_of_the_nets_own_size_is_matted_as_if_it_were_cut_out():
    net = SelfieSegmentation()
    picture = np.random.default_rng(0).integers(0, 256, (net.size, net.size, 3), np.uint8)
    crop = Roi.whole(picture, square=False).crop(picture, net.size, low=0, high=1, pad=True)
    np.testing.assert_array_equal(net(picture), next(iter(net._net(crop).values()))[..., 0])


def test_irises_lie_where_the_refined_mesh_sees_them(goldens, faces):
    points = faces.refine(
        goldens.picture("astronaut"), goldens.pixels("astronaut", "facemesh_plain")
    )
    golden = goldens.pixels("astronaut", "facemesh_refined")
    eyes_apart = np.linalg.norm(golden[468] - golden[473])
    away = np.linalg.norm((points - golden)[468:, :2], axis=1)
    # Another net: its centres differ by up to 0.02 eye distances, its edge points by 0.03.
    assert away.max() < 0.03 * eyes_apart


def test_small_faces_of_a_wide_picture_are_found(shared):
    picture = cv2.imread(str(shared / "media" / "group_of_six_t1.jpg"))[:, :, ::-1]
    confident = [face for face in detect_faces(picture) if face.score > 0.55]
    assert FaceDetector()(np.ascontiguousarray(picture)) == []
    assert len(confident) >= 4


def test_the_largest_clear_face_gives_a_pictures_landmarks(shared):
    picture = cv2.imread(str(shared / "media" / "group_of_six_t1.jpg"))[:, :, ::-1]
    points = face_landmarks(picture)
    assert points.shape == (478, 3)
    # The detector also sees one of 247 pixels, which the mesh's flag denies.
    assert np.ptp(points[:468, :2], axis=0).max() == pytest.approx(139, abs=5)


def test_an_animal_has_no_landmarks(shared):
    picture = cv2.imread(str(shared / "media" / "negative_animal_s36.jpg"))[:, :, ::-1]
    assert detect_faces(picture)
    assert face_landmarks(picture) is None


def test_triangles_cover_the_mesh_once_and_turn_one_way():
    triangles = face_mesh_triangles()
    assert triangles.shape == (852, 3)
    assert set(triangles.ravel()) == set(range(MESH_POINTS))
    directed = Counter(
        (int(a), int(b)) for t in triangles for a, b in zip(t, np.roll(t, -1), strict=True)
    )
    assert set(directed.values()) == {1}
    open_edges = sum((b, a) not in directed for a, b in directed)
    assert open_edges == 88  # outline 36, mouth 20, eyes 16 each


def test_triangles_face_the_viewer(goldens):
    points = goldens.pixels("astronaut", "facemesh_plain")
    a, b, c = (points[face_mesh_triangles()[:, k]] for k in range(3))
    depth = np.cross(b - a, c - a)[:, 2]
    assert (depth < 0).mean() > 0.95


def test_a_crop_of_everything_is_the_picture_itself():
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    crop = Roi.whole(picture, square=False).crop(picture, 48, low=0, high=255)
    np.testing.assert_array_equal(crop, picture)


def test_beyond_the_picture_lies_black_or_its_border():
    picture = np.full((20, 20, 3), 200, np.uint8)
    beyond = Roi(-50, 10, 10, 10)
    assert (beyond.crop(picture, 8, low=0, high=255) == 200).all()
    assert (beyond.crop(picture, 8, low=0, high=255, pad=True) == 0).all()


@given(
    centre=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    side=st.floats(1, 500),
    angle=st.floats(-3, 3),
)
def test_a_regions_centre_and_size_come_back_through_projection(centre, side, angle):
    region = Roi(*centre, side, side, angle)
    middle, left, right = region.project(np.array([[0.5, 0.5, 0.25], [0, 0.5, 0], [1, 0.5, 0]]))
    np.testing.assert_allclose(middle, [*centre, side / 4], atol=1e-6)
    across = right - left
    assert np.linalg.norm(across) == pytest.approx(side)
    turned = np.arctan2(across[1], across[0]) - angle
    assert np.cos(turned) == pytest.approx(1)


def test_overlapping_detections_melt_and_others_stay():
    shapes = np.array([[[0, 0], [10, 10]], [[2, 0], [12, 10]], [[50, 50], [60, 60]]], float)
    first, second = merge_overlapping(np.array([0.6, 0.9, 0.5]), shapes)
    assert first[0] == 0.9
    np.testing.assert_allclose(first[1], [[1.2, 0], [11.2, 10]])
    np.testing.assert_allclose(second[1], shapes[2])


def test_no_detections_merge_into_none():
    assert merge_overlapping(np.empty(0), np.empty((0, 2, 2))) == []


def test_a_region_without_a_face_gets_a_low_flag():
    mesh = FaceMesh()(np.full((200, 200, 3), 90, np.uint8), Roi(100, 100, 150, 150))
    assert mesh.score < 0.1
