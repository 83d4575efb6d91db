"""The keypoint map is LCVD's, pixel for pixel."""

from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from stages.clip import Clip
from stages.kpmap import CANVAS, SQUARES, STROKES, Kpmap, KpmapConfig, draw_keypoints


def _picture(path):
    return cv2.imread(str(path))[..., ::-1]


@pytest.mark.parametrize("face", ["A", "B"])
def test_pixels_are_those_of_lcvd(shared, face):
    golden = shared / "golden/lcvd"
    with np.load(golden / "kpmap.npz") as archive:
        points = archive[f"{face}_lmks"]
    np.testing.assert_array_equal(draw_keypoints(points), _picture(golden / f"kpmap_{face}.png"))


def test_other_sizes_are_resized_from_512(shared):
    golden = shared / "golden/lcvd"
    with np.load(golden / "kpmap.npz") as archive:
        points = archive["A_lmks"]
    np.testing.assert_array_equal(draw_keypoints(points, 256), _picture(golden / "kpmap_A256.png"))


def test_there_are_88_edges_between_92_landmarks():
    edges = [edge for stroke in STROKES for edge in stroke.edges.split()]
    assert len(edges) == len({frozenset(edge.split("-")) for edge in edges}) == 88
    assert len({landmark for edge in edges for landmark in edge.split("-")}) == 92


def test_what_leaves_the_picture_is_not_drawn():
    outside = np.full((478, 3), 1.5)
    assert not draw_keypoints(outside).any()
    outside[4, :2] = 0.0
    corner = draw_keypoints(outside)
    assert np.argwhere(corner.any(axis=2)).max() == 2
    assert (corner[0, 0] == SQUARES[4]).all()


def test_the_far_edge_belongs_to_the_last_pixel():
    points = np.full((478, 3), -1.0)
    points[4, :2] = 1.0
    drawn = np.argwhere(draw_keypoints(points).any(axis=2))
    assert drawn.min() == CANVAS - 4
    assert drawn.max() == CANVAS - 1


def test_the_stage_draws_every_frame_in_the_normal_form(tmp_path):
    """Landmarks in source pixels, half the size of the normal form."""
    side, frames = CANVAS, 3
    points = np.full((frames, 478, 3), -99, np.float32)
    points[:, 4, 0] = [60, 120, 180]
    points[:, 4, 1] = 160
    np.savez(tmp_path / "landmarks.npz", points=points)
    clip = Clip(
        "c" * 32,
        tmp_path / "absent.mp4",
        tmp_path,
        facts={"frame": {"size": side, "fps": "25/1"}},
        load=lambda stage, name: tmp_path / name,
    )
    clip.portrait = SimpleNamespace(size=side, transform=np.array([[2.0, 0, 0], [0, 2.0, 0]]))
    product = Kpmap(KpmapConfig(crf=0)).process(clip)
    assert product.facts == {"frames": frames}
    with av.open(str(product.files["kpmap.mp4"])) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    for picture, x in zip(pictures, (120, 240, 360), strict=True):
        square = np.argwhere(picture.max(axis=2) > 100)
        np.testing.assert_array_equal(square.min(axis=0), (317, x - 3))
        np.testing.assert_array_equal(square.max(axis=0), (322, x + 2))
