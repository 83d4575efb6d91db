"""DECA: encoder, steadiness over time, and the model from frames to pictures and back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from infra.errors import WeightsError
from stages.geometry import Geometry, GeometryConfig
from stages.models.deca.camera import Placement
from stages.models.deca.coefficients import CODE, SPLIT, Coefficients
from stages.models.deca.crop import crop_transforms, cut_crop, head_boxes
from stages.models.deca.encoder import ResnetEncoder, fold_batch_norms, ready_encoder
from stages.models.deca.keypoints import IBUG_68, ibug_points
from stages.models.deca.model import Deca
from stages.models.deca.regions import region_faces
from stages.models.deca.steady import steady_identity, steady_light, steady_motion
from stages.models.face_geometry import FaceGeometry, FaceTrack, shading_pictures
from stages.models.nets import one_thread
from stages.models.raster.renderer import PROCESSOR
from tests.rule import generator, golden_arrays, golden_facts
from tests.synthetic_flame import (
    rule_deca,
    synthetic_face_region,
    synthetic_flame,
    synthetic_masks,
    synthetic_weights,
)

SIZE = 160
FRAMES = 3


def _encoder():
    encoder = ResnetEncoder()
    encoder.load_state_dict(rule_deca())
    return encoder.eval()


def test_keys_of_the_encoder_are_the_checkpoints():
    state = ResnetEncoder().state_dict()
    found = [[key, list(each.shape), str(each.dtype)] for key, each in state.items()]
    assert found == golden_facts("deca_encoder")["state_dict_keys"]


@pytest.mark.parametrize("folded", [False, True], ids=["as published", "batch norms folded"])
def test_numbers_of_the_encoder_are_the_references(folded):
    golden = golden_arrays("deca_encoder")
    encoder = _encoder()
    if folded:
        fold_batch_norms(encoder)
        assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in encoder.modules())
    pictures = torch.from_numpy(golden["image_uint8"])[None].float() / 255
    with one_thread(), torch.inference_mode():
        features = encoder.encoder(pictures)
        code = encoder.layers(features)
    np.testing.assert_allclose(features, golden["features_2048"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(code, golden["params_236"], rtol=0, atol=1e-5)
    parts = Coefficients.from_code(code.numpy(), np.eye(3)[None]).arrays()
    for name in SPLIT:
        np.testing.assert_allclose(parts[name], golden[f"code_{name}"], rtol=0, atol=1e-5)


@pytest.mark.cuda
def test_a_gpu_gives_the_same_numbers_in_half_precision(gpu):
    golden = golden_arrays("deca_encoder")
    encoder = ready_encoder(rule_deca(), device=gpu, precision="float16")
    pictures = torch.from_numpy(golden["image_uint8"])[None].to(gpu, torch.float16) / 255
    with torch.inference_mode():
        code = encoder(pictures).cpu()
    scale = np.abs(golden["params_236"]).max()
    np.testing.assert_allclose(code, golden["params_236"], rtol=0, atol=1e-3 * scale)


def _coefficients(frames, seed="coefficients"):
    """Random numbers of a face that turns to and fro, in crops that wander."""
    rng = generator(f"input:{seed}")
    code = 0.3 * rng.normal(size=(frames, CODE))
    code[:, 206] += 8
    boxes = np.column_stack([rng.uniform(200, 300, (frames, 2)), rng.uniform(90, 110, frames)])
    return Coefficients.from_code(code, crop_transforms(boxes, whole=True))


def test_the_code_comes_back_from_its_parts():
    coefficients = _coefficients(4)
    again = Coefficients.from_code(coefficients.code(), coefficients.tform)
    for name, each in coefficients.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], each)


def test_windows_of_no_length_change_nothing():
    coefficients = _coefficients(5)
    for steady in (steady_motion, steady_light):
        for name, each in steady(coefficients, 0).arrays().items():
            np.testing.assert_array_equal(each, coefficients.arrays()[name])


def test_a_still_head_stays_where_it_is_while_its_crop_wanders():
    wandering = _coefficients(12)
    head = Placement(np.full(12, 900.0), np.tile((256.0, 250.0), (12, 1)))
    still = replace(
        wandering[np.zeros(12, int)],
        tform=wandering.tform,
        cam=head.camera(wandering.tform),
    )
    steady = steady_motion(still, 2)
    for name, each in still.arrays().items():
        np.testing.assert_allclose(steady.arrays()[name], each, rtol=0, atol=2e-5)


def test_smoothing_is_without_lag():
    coefficients = _coefficients(9)
    for steady in (steady_motion, steady_light):
        there, back = steady(coefficients, 1.5), steady(coefficients[::-1], 1.5)[::-1]
        for name, each in there.arrays().items():
            np.testing.assert_allclose(back.arrays()[name], each, rtol=0, atol=1e-5)


def test_smoothing_steadies_what_trembles():
    coefficients = _coefficients(40)
    steady = steady_light(steady_motion(coefficients, 3), 3)
    for name in ("exp", "pose", "light"):
        before, after = (
            np.abs(np.diff(each.arrays()[name], axis=0)).mean() for each in (coefficients, steady)
        )
        assert after < before / 4
    np.testing.assert_array_equal(steady.shape, coefficients.shape)


def test_a_clip_has_one_identity_that_of_its_frames_with_a_face():
    coefficients = _coefficients(5)
    valid = np.array([True, True, False, True, False])
    steady = steady_identity(coefficients, valid)
    assert (steady.shape == np.median(coefficients.shape[valid], axis=0)).all()
    assert (
        steady_identity(coefficients, ~valid & valid).shape[0]
        == np.median(coefficients.shape, axis=0)
    ).all()
    np.testing.assert_array_equal(steady.exp, coefficients.exp)


def test_points_of_ibug_stand_where_its_scheme_has_them(shared):
    with np.load(shared / "golden/perception/facemesh.npz") as archive:
        x, y = ibug_points(archive["astronaut_facemesh_refined"]).T
    assert len(set(IBUG_68)) == 68
    for rightward in (
        (0, *range(4, 13), 16),
        range(17, 27),
        range(31, 36),
        range(48, 55),
        range(60, 65),
    ):
        assert (np.diff(x[list(rightward)]) > 0).all()
    for downward in (range(9), (19, 37, 33, 51, 57, 8), range(27, 31)):
        assert (np.diff(y[list(downward)]) > 0).all()
    for around in (range(36, 42), range(42, 48), range(48, 60), range(60, 68)):
        u, v = x[list(around)], y[list(around)]
        assert (u * np.roll(v, -1) - v * np.roll(u, -1)).sum() > 0  # clockwise on the screen


def test_regions_are_told_by_vertices_or_by_triangles():
    faces = synthetic_flame()["f"]
    files = {"flame_masks": synthetic_masks(), "lcvd_face_region": synthetic_face_region()}
    face, lcvd, head = (
        region_faces(faces, region, files.__getitem__) for region in ("face", "lcvd", "head")
    )
    np.testing.assert_array_equal(face, lcvd)
    assert np.isin(face, synthetic_masks()["face"]).all()
    assert 0 < len(face) < len(head) == 9976


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"nose": np.arange(3)}, "knows no region 'face', only nose"),
        ({"face": np.array([1, 5023])}, "another mesh: its region 'face' must index 0 to 5022"),
        ({"face": np.array([], int)}, "another mesh"),
    ],
)
def test_masks_of_something_else_are_refused(found, words):
    with pytest.raises(WeightsError, match=words):
        region_faces(synthetic_flame()["f"], "face", {"flame_masks": found}.__getitem__)


@pytest.fixture(scope="module")
def weights():
    return synthetic_weights()


def _deca(weights, **options):
    return Deca(load=weights.__getitem__, batch=2, **options)


@pytest.fixture(scope="module")
def clip():
    """Pictures of noise in which a face of 478 points walks to the right and grows."""
    rng = generator("input:deca clip")
    frames = rng.integers(0, 256, (FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    face = rng.uniform(-1, 1, (478, 3))
    steps = np.arange(FRAMES)[:, None, None]
    points = (40 + 3 * steps) * face + (70, 80, 0) + (8, 0, 0) * steps
    track = FaceTrack(points.astype(np.float32), np.ones(FRAMES, bool), 25.0, SIZE)
    return frames, track


@pytest.fixture(scope="module")
def steady(weights):
    return _deca(weights)


@pytest.fixture(scope="module")
def geometry(steady, clip):
    frames, track = clip
    return steady.fit(iter(frames), track)


def test_without_windows_each_frame_is_what_deca_finds_in_it(weights, clip):
    frames, track = clip
    raw = _deca(weights, identity="frame", box_window=0, motion_window=0, light_window=0)
    found = Coefficients.from_arrays(raw.fit(frames, track).arrays())
    encoder = _encoder()
    encoder.load_state_dict(weights["deca"])
    tforms = crop_transforms(head_boxes(ibug_points(track.points)), whole=True)
    crops = np.stack([cut_crop(*each) for each in zip(frames, tforms, strict=True)])
    with one_thread(), torch.inference_mode():
        codes = [encoder(torch.from_numpy(crop.transpose(2, 0, 1)[None])) for crop in crops]
    np.testing.assert_allclose(found.code(), torch.cat(codes), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.tform, tforms.astype(np.float32))


def test_a_shorter_number_format_changes_little(weights, clip, geometry):
    rounded = _deca(weights, precision="bfloat16").fit(*clip)
    difference = np.abs(rounded.parameters["pose"] - geometry.parameters["pose"]).max()
    assert 0 < difference < 2e-3


def test_a_shorter_number_format_rounds_no_result(weights):
    """Whose last step would otherwise be 1/32, of a camera's scale."""
    noise = generator("input:deca rounding").random((1, 3, 224, 224), np.float32)
    with one_thread(), torch.inference_mode():
        exact, rounded = (
            ready_encoder(weights["deca"], device=torch.device("cpu"), precision=precision)(
                torch.from_numpy(noise).to(getattr(torch, precision))
            )
            for precision in ("float32", "bfloat16")
        )
    assert rounded.dtype == torch.float32
    np.testing.assert_allclose(rounded, exact, rtol=0, atol=2e-3)


def test_a_fit_keeps_all_236_numbers_of_every_frame(geometry):
    found = Coefficients.from_arrays(geometry.arrays())
    assert found.code().shape == (FRAMES, CODE)
    assert geometry.parameters["valid"].all()
    assert (found.shape == found.shape[0]).all()
    assert geometry.facts["light_direction"][0] > 0


def test_what_a_frame_without_a_face_shows_changes_nothing(steady, clip):
    frames, track = clip
    track = replace(track, valid=np.array([True, False, True]))
    blank = frames.copy()
    blank[1] = 0
    one, other = (steady.fit(each, track) for each in (frames, blank))
    for name, wanted in one.arrays().items():
        np.testing.assert_allclose(other.arrays()[name], wanted, rtol=0, atol=1e-6, err_msg=name)


def test_a_missing_frame_is_no_shorter_clip(steady, clip):
    frames, track = clip
    with pytest.raises(ValueError, match="longer"):
        steady.fit(frames[:-1], track)


def test_a_face_is_rendered_where_its_landmarks_are(steady, geometry, clip):
    _, track = clip
    for picture, points in zip(shading_pictures(steady, geometry, SIZE), track.points, strict=True):
        rows, columns = np.nonzero(picture.any(axis=2))
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        assert np.hypot(*((low + high) / 2 - (columns.mean(), rows.mean()))) < 15
        assert 0.5 < np.ptp(rows) / (high - low)[1] < 1.5


def test_a_render_of_another_size_shows_the_same(steady, geometry):
    large, small = (next(iter(shading_pictures(steady, geometry, side))) for side in (320, 160))
    halved = large.reshape(160, 2, 160, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - small).mean() < 1.5
    assert small.any()


def test_a_release_is_relit_without_its_video_and_without_the_encoder(
    weights, steady, geometry, tmp_path
):
    np.savez(tmp_path / "params.npz", **geometry.arrays())
    with np.load(tmp_path / "params.npz") as archive:
        kept = FaceGeometry.from_arrays(dict(archive))
    light = np.zeros((9, 3), np.float32)
    light[0], light[1] = 2, (0.8, -0.8, 0)
    bare = _deca({name: each for name, each in weights.items() if name != "deca"})
    relit = list(shading_pictures(bare, kept.under(light), SIZE))
    fresh = list(shading_pictures(steady, geometry.under(light), SIZE))
    np.testing.assert_array_equal(relit, fresh)
    first = relit[0].astype(int)
    half = np.nonzero(first.any(axis=2))[1].mean().astype(int)
    assert first[:, half:, 0].sum() > 1.1 * first[:, :half, 0].sum()  # red from the right
    assert first[:, half:, 1].sum() < first[:, :half, 1].sum() / 1.1  # green from the left


def test_an_encoder_of_another_architecture_is_refused_before_any_clip(weights):
    torn = dict(list(weights["deca"].items())[:-1])
    with pytest.raises(WeightsError, match=r"no ResnetEncoder: it lacks layers\.2\.bias"):
        _deca(weights | {"deca": torn}).ready()


@pytest.mark.parametrize("name", ["A", "B"], ids=["frontal", "turned"])
def test_from_numbers_to_the_picture_it_is_lcvds_render(weights, name):
    """The goldens' head put into a FLAME that does nothing but turn it."""
    golden = golden_arrays("render")
    case = {k.removeprefix(f"{name}_"): each for k, each in golden.items()}
    vertices = len(golden["mesh_verts"])
    flame = {
        "f": golden["mesh_faces"],
        "v_template": golden["mesh_verts"],
        "shapedirs": np.zeros((vertices, 3, 400), np.float32),
        "posedirs": np.zeros((vertices, 3, 36), np.float32),
        "J_regressor": np.zeros((5, vertices), np.float32),
        "kintree_table": np.array([(-1, 0, 1, 1, 1), range(5)]),
        "weights": np.eye(5, dtype=np.float32)[np.zeros(vertices, int)],
    }
    files = weights | {"flame": flame, "lcvd_face_region": {"face": case["in_face_ids"]}}
    code = np.zeros((1, CODE), np.float32)
    code[0, 200:203], code[0, 206:209] = case["in_pose"], case["in_cam"]
    code[0, 209:] = case["in_lights"].ravel()
    # The goldens' transform goes the other way, for row vectors.
    tform = np.linalg.inv(case["in_tform"].T)[None]
    face = Coefficients.from_code(code, tform).geometry(128)
    deca = _deca(files, region="lcvd")
    (surface,) = PROCESSOR.surfaces(deca.meshes(face), (128, 128))
    (picture,) = shading_pictures(deca, face, 128)
    alpha = np.zeros(128 * 128, bool)
    alpha[surface.pixels] = True
    alpha = alpha.reshape(128, 128)
    golden_alpha = case["out_alpha"].astype(bool)
    assert (alpha == golden_alpha).mean() >= 0.999
    expected = 255 * case["out_image"].transpose(1, 2, 0).clip(0, 1)
    both = alpha & golden_alpha
    assert np.abs(picture[both] - expected[both]).max() <= 1


@pytest.mark.parametrize(
    ("region", "masks"), [("face", "flame_masks"), ("lcvd", "lcvd_face_region"), ("head", None)]
)
def test_a_build_asks_for_the_masks_of_its_region_alone(region, masks):
    stage = Geometry(GeometryConfig(model="deca", deca={"region": region}))
    assert set(stage.weights()) == {"deca", "flame", masks} - {None}
