"""Light fitted to skin, head pose, and the geometry stage, on a face of our own making."""

from types import SimpleNamespace
from typing import get_args

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.clip import Clip
from stages.geometry import Geometry, GeometryConfig
from stages.models import mesh_geometry
from stages.models.light import (
    LUMINANCE,
    SkinSamples,
    fit_light,
    grey_light,
    main_direction,
    sample_skin,
    white_balance,
)
from stages.models.mesh_geometry import posed_mesh
from stages.models.pose import head_pose
from stages.models.raster.renderer import PROCESSOR, RENDERERS, RendererName
from stages.models.shading import ALBEDO, camera_frame, vertex_normals
from stages.models.spherical_harmonics import basis
from stages.portrait import place

SIZE = 128
COLUMNS, ROWS = 18, 26  # 468 vertices, as many as the face mesh has


def _dome(yaw=0.0):
    """A curved sheet that faces the viewer, turned to its left: vertices (468, 3), faces."""
    u, v = np.meshgrid(np.linspace(-0.75, 0.75, COLUMNS), np.linspace(-0.75, 0.75, ROWS))
    points = np.stack([u, v, -np.sqrt(1.3 - u**2 - v**2)], axis=-1).reshape(-1, 3)
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    index = np.arange(COLUMNS * ROWS).reshape(ROWS, COLUMNS)
    a, b, c, d = (
        corner.ravel()
        for corner in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:])
    )
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    vertices = points @ turn.T * (SIZE / 2) + (SIZE / 2, SIZE / 2, 0)
    return vertices.astype(np.float32), faces.astype(np.int32)


def _light(seed, colours=3):
    """A light under which no colour is crushed or clipped, (9, 3)."""
    random = np.random.default_rng(seed)
    light = random.uniform(-1, 1, (9, colours)) * np.array([0.2, *[0.3] * 3, *[0.06] * 5])[:, None]
    light[0] += 2.4
    return np.broadcast_to(light, (9, 3)).astype(np.float32)


def _samples(lights, seed=0, noise=0.0, outliers=0.0):
    """Skin of domes that turn from frame to frame, under the lights (T, 9, 3)."""
    random = np.random.default_rng(seed)
    frames = len(lights)
    turned = [_dome(yaw) for yaw in np.linspace(-0.3, 0.3, frames)]
    faces = turned[0][1]
    vertices = np.stack([vertices for vertices, _ in turned])
    normals = vertex_normals(camera_frame(vertices), faces)[:, faces].mean(axis=2)
    colours = ALBEDO * basis(normals) @ lights
    colours += random.normal(scale=noise, size=colours.shape)
    dark = random.random(colours.shape[:2]) < outliers
    colours[dark] *= 0.2
    weights = (normals[..., 2] > 0.2).astype(np.float32)
    return SkinSamples(normals, colours.astype(np.float32), weights)


def _render(vertices, faces, light):
    """LCVD's shading picture of a mesh, uint8 (SIZE, SIZE, 3)."""
    return next(PROCESSOR.pictures([posed_mesh(vertices, faces, SIZE)], [light], (SIZE, SIZE)))


def _worst(samples, fit, lights):
    """Largest error of the fit's render where skin was seen, of 1."""
    error = ALBEDO * basis(samples.normals) @ (fit.light - lights)
    return np.abs(error[samples.weights > 0]).max()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_known_light_is_found_again(seed):
    lights = np.repeat(_light(seed)[None], 5, axis=0)
    samples = _samples(lights)
    fit = fit_light(samples, window=2, ridge=1e-6)
    assert _worst(samples, fit, lights) < 0.003


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_noise_and_a_tenth_of_outliers_hardly_move_it(seed):
    lights = np.repeat(_light(seed)[None], 5, axis=0)
    samples = _samples(lights, seed, noise=0.02, outliers=0.1)
    fit = fit_light(samples, window=2, ridge=1e-3)
    assert _worst(samples, fit, lights) < 0.03


def test_the_same_outliers_do_move_plain_least_squares():
    """The test above would see a fit that is not robust."""
    lights = np.repeat(_light(1)[None], 5, axis=0)
    samples = _samples(lights, 1, noise=0.02, outliers=0.1)
    design = basis(samples.normals).reshape(-1, 9)
    plain = np.linalg.lstsq(design, samples.colours.reshape(-1, 3) / ALBEDO, rcond=None)[0]
    assert _worst(samples, SimpleNamespace(light=plain), lights) > 0.03


def test_a_light_is_found_in_a_picture_and_renders_it_again():
    vertices, faces = (np.stack([each]) for each in _dome(0.2))
    light = _light(3)[None]
    picture = _render(vertices[0], faces[0], light[0])
    samples = sample_skin([picture], vertices, faces[0], faces[0])
    fit = fit_light(samples, window=0, ridge=1e-4)
    again = _render(vertices[0], faces[0], fit.light[0])
    inside = picture.any(axis=2)
    assert inside.mean() > 0.4
    assert np.abs(again[inside].astype(int) - picture[inside]).mean() < 1.5
    assert fit.brightness[0] == pytest.approx((picture[inside] @ LUMINANCE).mean() / 255, abs=0.01)
    assert fit.residual[0] < 0.01


@pytest.mark.parametrize(
    ("axis", "sign", "lit"),
    [
        (1, -1, np.s_[:, : SIZE // 2]),
        (1, 1, np.s_[:, SIZE // 2 :]),
        (2, 1, np.s_[: SIZE // 2]),
        (2, -1, np.s_[SIZE // 2 :]),
    ],
    ids=["left", "right", "above", "below"],
)
def test_light_from_a_side_brightens_that_side(axis, sign, lit):
    vertices, faces = _dome()
    light = np.zeros((1, 9, 3), np.float32)
    light[:, 0] = 2
    light[:, axis] = 0.5 * sign
    picture = _render(vertices, faces, light[0])
    assert picture[lit].mean() > 1.1 * (picture.mean() * 2 - picture[lit].mean())
    fit = fit_light(sample_skin([picture], vertices[None], faces, faces), window=0, ridge=0.02)
    assert fit.light[0, axis] == pytest.approx([0.5 * sign] * 3, abs=0.1)


def _seen(vertices, faces, picture=None):
    """Which triangles are seen in a picture, all grey if none is given; and their centres."""
    picture = np.full((SIZE, SIZE, 3), 128, np.uint8) if picture is None else picture
    samples = sample_skin([picture], vertices[None], faces, faces)
    return samples.weights[0] > 0, vertices[faces].mean(axis=1)


def test_skin_that_faces_the_viewer_is_seen():
    seen, _ = _seen(*_dome())
    assert seen.mean() > 0.9


def test_skin_that_faces_away_is_not_seen():
    vertices, faces = _dome(yaw=np.pi)
    assert not _seen(vertices, faces)[0].any()


@pytest.mark.parametrize("value", [0, 255], ids=["crushed", "clipped"])
def test_crushed_and_clipped_skin_is_not_believed(value):
    picture = np.full((SIZE, SIZE, 3), 128, np.uint8)
    picture[:, : SIZE // 2, 0] = value  # one colour is enough
    seen, centres = _seen(*_dome(), picture)
    assert not seen[centres[:, 0] < SIZE / 2 - 8].any()
    assert seen[centres[:, 0] > SIZE / 2 + 8].mean() > 0.9


def test_skin_behind_something_nearer_is_not_seen():
    vertices, faces = _dome()
    curtain = np.array([(0, 0, -SIZE), (0, SIZE, -SIZE), (SIZE, SIZE, -SIZE)], np.float32)
    seen, centres = _seen(
        np.concatenate([vertices, curtain]),
        np.concatenate([faces, np.array([[468, 469, 470]], np.int32)]),
    )
    below = centres[:, 1] - centres[:, 0]
    assert not seen[:-1][below[:-1] > 8].any()
    assert seen[below < -8].mean() > 0.8


def test_skin_outside_the_picture_is_not_seen():
    vertices, faces = _dome()
    assert not _seen(vertices + np.array([SIZE, 0, 0], np.float32), faces)[0].any()


def test_the_window_in_time_has_no_lag():
    lights = np.stack([_light(t // 10) for t in range(20)])
    forward = _samples(lights, noise=0.01)
    backward = SkinSamples(forward.normals[::-1], forward.colours[::-1], forward.weights[::-1])
    there, back = (fit_light(each, window=3, ridge=0.02).light for each in (forward, backward))
    np.testing.assert_allclose(there, back[::-1], rtol=0, atol=1e-3)


def test_the_window_in_time_steadies_the_light():
    lights = np.repeat(_light(5)[None], 30, axis=0)
    samples = _samples(lights, noise=0.05)
    shaky, steady = (
        np.abs(np.diff(fit_light(samples, window=window, ridge=0.02).light, axis=0)).mean()
        for window in (0, 5)
    )
    assert steady < shaky / 5


def test_frames_without_skin_take_the_light_of_those_around():
    lights = np.repeat(_light(2)[None], 9, axis=0)
    samples = _samples(lights)
    gap = np.arange(9) != 4
    full, gapped = (fit_light(each, window=2, ridge=0.02) for each in (samples, samples.only(gap)))
    np.testing.assert_allclose(gapped.light, full.light, rtol=0, atol=0.02)
    assert gapped.brightness[4] == 0
    assert (gapped.brightness[gap] > 0).all()


def test_a_clip_without_skin_is_dark():
    samples = _samples(np.repeat(_light(2)[None], 3, axis=0)).only(np.zeros(3, bool))
    fit = fit_light(samples, window=2, ridge=0.02)
    assert not fit.light.any()


def test_grey_light_keeps_the_luminance():
    light = _light(7)
    grey = grey_light(light)
    assert (grey == grey[:, :1]).all()
    np.testing.assert_allclose(grey @ LUMINANCE, light @ LUMINANCE, rtol=1e-5)


def test_white_balance_takes_out_the_colour_of_skin():
    """Light of one colour on skin of another: what is left has neither."""
    lights = np.repeat(_light(4, colours=1)[None], 3, axis=0)
    samples = _samples(lights * np.array([0.9, 0.6, 0.5], np.float32))
    fit = fit_light(samples, window=0, ridge=0.02)
    balanced = white_balance(fit.light, samples)
    np.testing.assert_allclose(balanced, grey_light(fit.light), rtol=0, atol=1e-3)


angles = st.tuples(*[st.floats(-0.9, 0.9)] * 3)


def _rotation(angles):
    x, y, z = angles
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    return np.array(about_z) @ about_y @ about_x


@given(st.lists(angles, min_size=1, max_size=5), st.floats(20, 200))
@settings(deadline=None)
def test_poses_of_a_stiff_head_are_found_again(turns, scale):
    random = np.random.default_rng(0)
    head = random.normal(size=(478, 3))
    # Upright by the landmarks that define the head's own axes.
    head[33], head[263] = (-1, 0, 0), (1, 0, 0)
    head[10], head[152] = (0, 1.5, 0), (0, -1.5, 0)
    rotations = np.stack([_rotation(each) for each in turns])
    landmarks = scale * head @ np.swapaxes(rotations, 1, 2) + (100, -50, 7)
    pose = head_pose(landmarks)
    np.testing.assert_allclose(pose.rotation, rotations, atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(pose.rotation), 1, atol=1e-4)
    again = pose.scale[:, None, None] * (pose.head @ np.swapaxes(pose.rotation, 1, 2))
    np.testing.assert_allclose(again + pose.translation[:, None], landmarks, atol=1e-3 * scale)


def test_points_go_through_the_crop_and_depth_grows_with_width():
    points = np.array([[[10.0, 20.0, 4.0]]], np.float32)
    transform = np.array([[2.0, 0.0, -5.0], [0.0, 2.0, 1.0]])
    np.testing.assert_array_equal(place(points, transform), [[[15.0, 41.0, 8.0]]])


FRAMES = 6


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A clip of a turning dome, lit from the left, whose landmarks are its vertices."""
    turned = [_dome(yaw) for yaw in np.linspace(-0.2, 0.2, FRAMES)]
    faces = turned[0][1]
    vertices = np.stack([vertices for vertices, _ in turned])
    light = np.zeros((FRAMES, 9, 3), np.float32)
    light[:, 0], light[:, 1] = 2, -0.5
    pictures = [_render(mesh, faces, lit) for mesh, lit in zip(vertices, light, strict=True)]
    points = np.concatenate([vertices, vertices[:, :10]], axis=1) - np.array([0.5, 0.5, 0])
    np.savez(tmp_path / "landmarks.npz", points=points, valid=np.arange(FRAMES) != 2)
    monkeypatch.setattr(mesh_geometry, "face_mesh_triangles", lambda: faces)

    class Portrait(list):
        transform = np.eye(2, 3)
        size = SIZE

    clip = Clip(
        "c" * 32,
        tmp_path / "absent.mp4",
        tmp_path,
        facts={"frame": {"size": SIZE, "fps": "25/1"}},
        load=lambda stage, name: tmp_path / name,
    )
    clip.portrait = Portrait(pictures)
    return clip


def _geometry(**options):
    stage = Geometry(GeometryConfig(mediapipe_mesh=options))
    stage.setup()
    return stage


def _film(path):
    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def test_the_stage_writes_parameters_and_a_render_like_the_picture(clip):
    product = _geometry(light_ridge=1e-4).process(clip)
    with np.load(product.files["params.npz"]) as params:
        shapes = {name: params[name].shape for name in params}
        assert params["light"].dtype == params["landmarks"].dtype == np.float32
        assert params["light"][:, 1].mean() == pytest.approx(-0.5, abs=0.1)
        assert params["valid"].tolist() == [True, True, False, True, True, True]
    assert shapes == {
        "landmarks": (FRAMES, 478, 3),
        "light": (FRAMES, 9, 3),
        "residual": (FRAMES,),
        "valid": (FRAMES,),
        "rotation": (FRAMES, 3, 3),
        "scale": (FRAMES,),
        "translation": (FRAMES, 3),
        "head": (478, 3),
        "size": (),
    }
    film = _film(product.files["mesh.mp4"])
    assert np.abs(film.astype(int) - np.stack(clip.portrait)).mean() < 3
    assert product.facts["frames"] == FRAMES
    assert product.facts["lit_frames"] == FRAMES - 1
    assert product.facts["mean_shading"] == pytest.approx(0.4, abs=0.1)
    assert product.facts["residual"] < 0.01


def test_the_stage_makes_the_same_bytes_again(clip):
    first, second = (
        {name: path.read_bytes() for name, path in _geometry().process(clip).files.items()}
        for _ in range(2)
    )
    assert first == second


def test_a_face_that_was_never_seen_has_no_shading_to_tell_of(clip):
    black = [np.zeros((SIZE, SIZE, 3), np.uint8)] * FRAMES
    clip.portrait[:] = black
    product = _geometry(light_colour="rgb").process(clip)
    assert product.facts == {"frames": FRAMES, "model": "mediapipe_mesh", "lit_frames": 0}


@pytest.mark.parametrize(
    ("direction", "angles"),
    [((0, 0, 1), (0, 0)), ((1, 0, 1), (45, 0)), ((-1, 0, 0), (-90, 0)), ((0, 1, 1), (0, 45))],
)
def test_the_main_direction_of_light_is_told_in_degrees(direction, angles):
    light = np.zeros((4, 9, 3), np.float32)
    light[:, 0] = 2
    light[:, 1:4] = np.array(direction, np.float32)[:, None]
    assert main_direction(light) == pytest.approx(angles, abs=3)


def test_the_renderer_is_part_of_what_decides_a_result(monkeypatch):
    monkeypatch.setattr(Geometry, "weights", lambda self: ())
    upstream = {"landmarks": "0" * 16, "frame": "1" * 16}
    names = get_args(RendererName)
    stages = [Geometry(GeometryConfig(renderer=name)) for name in names]
    assert len({stage.fingerprint(upstream) for stage in stages}) == len(names)
    assert [stage.offers()[1] for stage in stages] == [RENDERERS[name] for name in names]
