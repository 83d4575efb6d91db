"""FLAME, its landmarks, DECA's camera and crop, against the reference's numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import WeightsError
from stages.models.deca.camera import Placement, project, to_picture
from stages.models.deca.coefficients import CODE, Coefficients
from stages.models.deca.crop import SIDE, crop_transforms, cut_crop, head_boxes
from stages.models.deca.flame import Flame, rotation_matrices
from stages.models.deca.landmarks import FlameLandmarks, contour_rows
from tests.rule import golden_arrays, golden_facts


@pytest.fixture(scope="module")
def golden():
    return golden_arrays("flame")


def _part(golden, prefix):
    return {k.removeprefix(prefix): each for k, each in golden.items() if k.startswith(prefix)}


@pytest.fixture(scope="module")
def flame(golden):
    return Flame(_part(golden, "model_"))


@pytest.fixture(scope="module")
def landmarks(golden, flame):
    return FlameLandmarks(_part(golden, "emb_"), flame.faces_tensor)


@pytest.fixture(scope="module", params=["", "_eye"], ids=["straight eyes", "turned eyes"])
def posed(request, golden, flame):
    """Vertices, rotations, and the suffix of the golden keys."""
    names = ["in_shape", "in_exp", "in_pose", *(["in_eye_pose"] if request.param else [])]
    return *flame(*(torch.from_numpy(golden[name]) for name in names)), request.param


def test_buffers_are_those_of_decas_module(flame, landmarks):
    state = {**flame.state_dict(), **landmarks.state_dict()}
    found = {key: (list(each.shape), str(each.dtype)) for key, each in state.items()}
    recorded = golden_facts("flame")["flame_state_dict"]
    assert found == {key: (shape, dtype) for key, shape, dtype in recorded}


def test_vertices_are_the_references(golden, posed):
    vertices, _, suffix = posed
    np.testing.assert_allclose(vertices, golden[f"out_verts{suffix}"], rtol=0, atol=1e-6)


def test_landmarks_of_the_picture_are_the_references(golden, landmarks, posed):
    vertices, rotations, suffix = posed
    found = landmarks.image(vertices, rotations)
    np.testing.assert_allclose(found, golden[f"out_lmk2d{suffix}"], rtol=0, atol=1e-6)


def test_landmarks_of_the_head_are_the_references(golden, landmarks, posed):
    vertices, _, suffix = posed
    found = landmarks.head(vertices)
    np.testing.assert_allclose(found, golden[f"out_lmk3d{suffix}"], rtol=0, atol=1e-6)


def test_the_contour_turns_with_decas_sign(golden, flame):
    """Both signs are among the cases, and both ends of the table."""
    _, rotations = flame(*(torch.from_numpy(golden[k]) for k in ("in_shape", "in_exp", "in_pose")))
    np.testing.assert_array_equal(contour_rows(rotations), golden["out_dynamic_row"])
    assert {39, 78} <= set(golden["out_dynamic_row"].tolist())


def test_rotations_are_the_references(golden):
    found = rotation_matrices(torch.from_numpy(golden["in_axis_angle"]))
    np.testing.assert_allclose(found, golden["out_rotmat"], rtol=0, atol=1e-6)


def test_frames_of_a_batch_do_not_touch_each_other(golden, flame):
    inputs = [torch.from_numpy(golden[name]) for name in ("in_shape", "in_exp", "in_pose")]
    together = flame(*inputs)[0]
    alone = torch.cat([flame(*(each[t : t + 1] for each in inputs))[0] for t in range(8)])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-7)


def test_crops_are_placed_as_the_reference_places_them(golden):
    boxes = head_boxes(golden["in_kpt68"])
    np.testing.assert_array_equal(boxes[:, :2], golden["out_center"])
    np.testing.assert_array_equal(boxes[:, 2], golden["out_old_size"])
    tforms = crop_transforms(boxes, whole=True)
    np.testing.assert_allclose(tforms, golden["out_tform_image_to_crop"], rtol=0, atol=1e-4)
    sizes = np.rint((SIDE - 1) / tforms[:, 0, 0]).astype(int)
    np.testing.assert_array_equal(sizes, golden["out_crop_size_int"])


def test_a_box_is_a_head_by_decas_rule_for_68_landmarks(golden):
    """The other rows of the table are of a detector's box, which we do not use."""
    for left, right, top, bottom, ours, *expected in golden[
        "bbox2point_table_l_r_t_b_iskpt68_size_cx_cy"
    ]:
        if ours:
            corners = np.array([[(left, top), (right, bottom)]], np.float32)
            ((x, y, size),) = head_boxes(corners)
            assert (size, x, y) == pytest.approx(expected, abs=1e-4)


def test_the_crop_without_a_face_was_the_picture_with_its_sides_swapped(golden):
    """We have no such case: a face that is not seen in a frame is placed by its neighbours."""
    height, width = 480, 640
    corners = np.array([[(0, 0), (height - 1, width - 1)]], np.float32)
    (tform,) = crop_transforms(head_boxes(corners), whole=True)
    np.testing.assert_allclose(tform, golden["out_tform_noface_h480_w640"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", ["warp", "warp2"], ids=["inside", "half outside"])
def test_crops_are_sampled_as_the_reference_samples_them(golden, case):
    boxes = head_boxes(golden[f"{case}_in_kpt68"][None])
    (tform,) = crop_transforms(boxes, whole=True)
    np.testing.assert_allclose(tform, golden[f"{case}_out_tform"], rtol=0, atol=1e-4)
    crop = cut_crop(golden["warp_in_image"], tform)
    np.testing.assert_allclose(255 * crop, golden[f"{case}_out_crop_0_255"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("shift", [(1000.0, 0.0), (0.0, -1e12), (-1e300, 1e300)])
def test_a_crop_off_the_picture_is_black(shift):
    tform = np.eye(3)
    tform[:2, 2] = shift
    assert not cut_crop(np.full((20, 30, 3), 255, np.uint8), tform).any()


def test_heads_are_projected_as_the_reference_projects_them(golden):
    found = project(golden["out_verts"], golden["in_cam"])
    np.testing.assert_allclose(found, golden["out_orth_proj_flipped"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(512, 512), (360, 640)])
def test_heads_come_back_to_the_picture_as_the_references_do(golden, size):
    found = to_picture(golden["out_orth_proj_flipped"], golden["out_tform_image_to_crop"], size)
    key = "out_trans_verts_512" if size == (512, 512) else "out_trans_verts_h360_w640"
    np.testing.assert_allclose(found, golden[key], rtol=0, atol=1e-5)


cameras = st.tuples(st.floats(2, 15), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1))
boxes = st.tuples(st.floats(-50, 550), st.floats(-50, 550), st.floats(20, 600))


@given(cameras, boxes)
def test_a_camera_is_where_it_shows_the_origin_and_a_metre(cam, box):
    code = np.zeros((1, CODE))
    code[0, 206:209] = cam
    face = Coefficients.from_code(code, crop_transforms(np.array([box]), whole=False))
    there = Placement.of(face)
    points = np.array([[(0, 0, 0), (1, 0, 0)]], np.float32)
    ((origin, right),) = (
        to_picture(project(points, face.cam), face.tform, (512, 512))[..., :2] + 1
    ) * 256
    np.testing.assert_allclose(there.place[0], origin, atol=0.01)
    assert right[0] - origin[0] == pytest.approx(there.size[0], rel=1e-4)


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("weights", None, "lacks weights"),
        ("shapedirs", lambda a: a[..., :150], r"shapedirs has shape \(200, 3, 150\), not \(200"),
        ("posedirs", lambda a: a[:199], r"posedirs has shape \(199"),
        ("f", lambda a: a[:, :2], r"f has shape \(396, 2\), not \(F, 3\)"),
        ("f", lambda a: a + 4, "triangles must be of vertices 0 to 199"),
        ("kintree_table", lambda a: a[:, ::-1], "joints hang on"),
    ],
)
def test_a_file_that_is_no_flame_is_refused(golden, key, change, words):
    arrays = _part(golden, "model_")
    arrays[key] = change(arrays[key]) if change else None
    arrays = {name: each for name, each in arrays.items() if each is not None}
    with pytest.raises(WeightsError, match=words):
        Flame(arrays)


def test_a_file_without_an_embedding_is_refused(golden, flame):
    arrays = _part(golden, "emb_")
    del arrays["full_lmk_bary_coords"]
    with pytest.raises(WeightsError, match="lacks full_lmk_bary_coords"):
        FlameLandmarks(arrays, flame.faces_tensor)
