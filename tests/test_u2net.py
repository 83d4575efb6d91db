"""U^2-Net: the published network's numbers, on torch and on ONNX Runtime, and LCVD's masks."""

from itertools import pairwise
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from pydantic import ValidationError
from safetensors.torch import save_file

from infra.errors import WeightsError
from stages.frames import SourceFrames
from stages.matting import Matting, MattingConfig
from stages.models import nets, onnx_session
from stages.models.nets import one_thread
from stages.models.onnx_session import OnnxNet
from stages.models.u2net import model
from stages.models.u2net.export import export_onnx
from stages.models.u2net.legacy import LegacyMasks
from stages.models.u2net.model import U2NetMatting, onnx_maps, torch_maps
from stages.models.u2net.network import u2net, u2netp
from stages.models.u2net.pictures import prepare, stretch
from stages.steadying import steady
from tests.rule import blocks, generator, golden_arrays, golden_facts, pattern, rule_state
from tests.test_matting import Portrait, flicker, stored_masks

NETS = {"u2net": u2net, "u2netp": u2netp}
SMALL = 96


@pytest.fixture(scope="module")
def small_net():
    """The small net under the rule's weights."""
    net = u2netp()
    net.load_state_dict(rule_state(net.state_dict()))
    return net.eval()


@pytest.fixture(scope="module")
def folder(small_net, tmp_path_factory):
    """Its weights in all formats, as a user's folder has them."""
    folder = tmp_path_factory.mktemp("weights")
    save_file(small_net.state_dict(), folder / "u2netp_torch")
    small_net.train()  # an export must not heed this
    export_onnx(small_net, folder / "u2netp", size=SMALL)
    assert not small_net.training
    return folder


@pytest.fixture(scope="module")
def small_session(folder):
    """It on ONNX Runtime, for small pictures."""
    return OnnxNet(folder / "u2netp", (3, SMALL, SMALL))


@pytest.fixture
def weights(folder, monkeypatch):
    """Have weights come from that folder."""
    for module in (nets, onnx_session):
        monkeypatch.setattr(module, "weight_path", lambda name: folder / name)


def pictures(frames: int, side: int = SMALL) -> list[np.ndarray]:
    """A still ground with a little noise, and a bright square that moves over it and grows."""
    rng = np.random.default_rng(3)
    cells = rng.integers(0, 256, (8, 8, 3), np.uint8)
    ground = cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC)
    film = []
    for index in range(frames):
        noisy = np.clip(ground + rng.normal(0, 2, ground.shape), 0, 225)
        noisy[side // 3 : 2 * side // 3, index : index + side // 4] = 225 + index
        film.append(noisy.astype(np.uint8))
    return film


# The network.


@pytest.mark.parametrize("name", NETS)
def test_keys_and_shapes_are_the_published_ones(name):
    with torch.device("meta"):
        state = NETS[name]().state_dict()
    ours = {
        key: [list(value.shape), str(value.dtype).removeprefix("torch.")]
        for key, value in state.items()
    }
    assert ours == golden_facts(f"{name}_keys")
    assert list(ours) == list(golden_facts(f"{name}_keys"))


@pytest.fixture(scope="module", params=NETS)
def named_net(request):
    """Each net with its name, under the rule's weights, which take seconds to draw."""
    net = NETS[request.param]()
    net.load_state_dict(rule_state(net.state_dict()))
    return request.param, net.eval()


@pytest.mark.parametrize("side", [160, 320])
def test_maps_are_the_references(named_net, side):
    name, net = named_net
    drawn = blocks(generator(f"input:u2net_{side}"), 0, 256, (side // 16, side // 16, 3), (16, 16))
    picture = (drawn.astype(int) * 3 // 4 + pattern(64, drawn.shape)) / 255
    normal = (picture - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    shown = torch.from_numpy(normal.transpose(2, 0, 1)[None].astype(np.float32))
    with one_thread(), torch.inference_mode():
        fused, *sides = (each[0, 0].numpy() for each in net(shown))
    golden, case = golden_arrays("u2net"), f"{name}_{side}"
    stride = side // 160
    np.testing.assert_allclose(fused[::stride, ::stride], golden[f"{case}_d0"], rtol=0, atol=2e-6)
    (alpha,) = stretch([fused])
    np.testing.assert_allclose(alpha[::stride, ::stride], golden[f"{case}_norm"], rtol=0, atol=1e-5)
    for index, found in enumerate(sides, start=1):
        wanted = golden[f"{case}_d{index}_stride8"]
        np.testing.assert_allclose(found[::8, ::8], wanted, rtol=0, atol=2e-6)


# Pictures in, alphas out.


@given(seed=st.integers(0, 99), peak=st.integers(0, 255))
@settings(max_examples=20)
def test_pictures_are_divided_by_their_peak_and_normalised_by_channel(seed, peak):
    drawn = np.random.default_rng(seed).integers(0, peak + 1, (2, 5, 5, 3)).astype(np.uint8)
    found = prepare(list(drawn))
    for picture, shown in zip(drawn, found, strict=True):
        part = picture / max(picture.max(), 1)
        wanted = (part - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        np.testing.assert_allclose(shown, wanted.transpose(2, 0, 1), atol=1e-5)
    assert found.dtype == np.float32


@given(radius=st.integers(0, 6), frames=st.integers(0, 12), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_as_many_alphas_come_out_as_maps_went_in_all_in_range(radius, frames, seed):
    rng = np.random.default_rng(seed)
    maps = list((rng.random((frames, 6, 6)) * rng.random((frames, 1, 1))).astype(np.float32))
    alphas = list(stretch(maps, radius))
    assert len(alphas) == frames
    assert all(alpha.min() >= 0 and alpha.max() <= 1 for alpha in alphas)


def test_a_map_by_itself_is_stretched_from_its_lowest_to_its_highest():
    (alpha,) = stretch([np.float32([[0.2, 0.3], [0.5, 0.6]])])
    np.testing.assert_allclose(alpha, [[0, 0.25], [0.75, 1]], atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.004, 1.0])
def test_a_map_without_contrast_is_left_as_it_is(level):
    flat = np.full((4, 4), level, np.float32)
    (alpha,) = stretch([flat])
    np.testing.assert_array_equal(alpha, flat)


def test_a_pixel_that_flashes_does_not_flash_the_rest():
    ramp = np.linspace(0.2, 0.6, 64, dtype=np.float32).reshape(8, 8)
    maps = [ramp.copy() for _ in range(30)]
    for each in maps[::2]:
        each[0, 0] = 0.9
    alone, shared = ([alpha[1:] for alpha in stretch(maps, radius)] for radius in (0, 8))
    assert flicker(shared) < 0.1 * flicker(alone)


# On ONNX Runtime.


def test_onnx_gives_what_torch_gives_for_batches_of_any_number(small_net, small_session):
    shown = prepare(pictures(5))
    with one_thread(), torch.inference_mode():
        wanted = small_net(torch.from_numpy(shown))[0].numpy()
    for count in (1, 3, 3, 5):
        (found,) = small_session(shown[:count])
        np.testing.assert_allclose(found, wanted[:count], rtol=0, atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_the_batch_does_not_change_a_matte(runtime, small_net, small_session):
    maps = onnx_maps(small_session) if runtime == "onnx" else torch_maps(small_net)
    film = pictures(5)
    one, three = (
        list(U2NetMatting(maps, batch=batch, size=SMALL).mattes(film)) for batch in (1, 3)
    )
    np.testing.assert_allclose(three, one, rtol=0, atol=1e-5)


def test_no_more_than_a_batch_and_the_window_is_read_ahead():
    matting = U2NetMatting(lambda batch: batch[:, 0], size=16, batch=3, radius=2)
    read = 0

    def film():
        nonlocal read
        for _ in range(40):
            read += 1
            yield np.zeros((16, 16, 3), np.uint8)

    for out, _ in enumerate(matting.mattes(film()), start=1):
        assert read <= out + 3 + 2


def test_an_onnx_net_for_single_pictures_takes_batches_all_the_same(
    folder, small_session, tmp_path
):
    single = onnx.load(folder / "u2netp")
    for end in (*single.graph.input, *single.graph.output):
        end.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(single, tmp_path / "single.onnx")
    shown = prepare(pictures(3))
    found = onnx_maps(OnnxNet(tmp_path / "single.onnx", (3, SMALL, SMALL)))(shown)
    np.testing.assert_allclose(found, onnx_maps(small_session)(shown), rtol=0, atol=1e-5)


def test_a_file_that_is_no_onnx_is_told(folder, tmp_path):
    path = tmp_path / "torn.onnx"
    path.write_bytes((folder / "u2netp").read_bytes()[:4000])
    with pytest.raises(WeightsError, match="is no ONNX network"):
        OnnxNet(path, (3, SMALL, SMALL))


def test_an_onnx_net_for_other_pictures_is_told(weights):
    with pytest.raises(WeightsError, match=r"u2netp takes tensor\(float\).*96, 96.*not.*320, 320"):
        U2NetMatting.of_weight("u2netp")


def test_an_onnx_net_that_makes_no_matte_is_told(tmp_path):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 8, 8]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "same.onnx")
    maps = onnx_maps(OnnxNet(tmp_path / "same.onnx", (3, 8, 8)))
    with pytest.raises(WeightsError, match=r"same\.onnx makes .* not one map"):
        maps(np.zeros((2, 3, 8, 8), np.float32))


# Steadiness.


def real_film(shared) -> list[np.ndarray]:
    source = SourceFrames(shared / "media" / "hdtf_WDA_DebbieDingell1_000.mp4", budget=1 << 30)
    side = (SMALL, SMALL)
    return [cv2.resize(f, side, interpolation=cv2.INTER_AREA) for f in source.at(range(24))]


@pytest.mark.parametrize("real", [False, True])
def test_a_static_ground_flickers_at_most_half_as_much(real, small_session, request):
    film = real_film(request.getfixturevalue("shared")) if real else pictures(24)
    moved = [cv2.absdiff(a, b).max(axis=2).astype(np.float32) for a, b in pairwise(film)]
    ground = [cv2.blur(each, (5, 5)) < (2 if real else 10) for each in moved]
    assert np.mean(ground) > 0.3
    maps = list(onnx_maps(small_session)(prepare(film)))
    alone = list(stretch(maps))
    steadied = list(steady(zip(film, stretch(maps, 8), strict=True), 8, 3.0))
    assert flicker(steadied, ground) < 0.5 * flicker(alone, ground)


# The stage.


def matte(portrait: Portrait, folder, **table) -> list[np.ndarray]:
    folder.mkdir()
    stage = Matting(MattingConfig(model="u2netp", u2netp=table))
    stage.setup()
    return stored_masks(stage.process(SimpleNamespace(portrait=portrait, scratch=folder)))


def real_portrait(shared) -> Portrait:
    source = SourceFrames(shared / "media" / "lp_d0.mp4", budget=1 << 30).at([0, 1, 40])
    return Portrait(cv2.resize(frame, (512, 512)) for frame in source)


def test_a_real_clip_is_matted_alike_on_both_runtimes(shared, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "SIZE", SMALL)
    portrait = real_portrait(shared)
    by_onnx = matte(portrait, tmp_path / "onnx", batch=2)
    by_torch = matte(portrait, tmp_path / "torch", runtime="torch", batch=1)
    assert len(by_onnx) == 3
    assert by_onnx[0].shape == (512, 512)
    assert by_onnx[0].std() > 5
    for a, b in zip(by_onnx, by_torch, strict=True):
        assert cv2.absdiff(a, b).max() <= 1


def test_legacy_masks_are_those_of_the_released_code(shared, small_net, weights, tmp_path):
    (frame, *_) = portrait = real_portrait(shared)[:1]
    image = (cv2.resize(frame, (320, 320), interpolation=cv2.INTER_LINEAR) / 255.0)[np.newaxis]
    for k, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        image[:, :, k] = (image[:, :, k] - mean) / std
    per_frame = u2netp()
    per_frame.load_state_dict(small_net.state_dict())
    for module in per_frame.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # The statistics of the batch, by its own words.
            module.forward = lambda x, bn=module: F.batch_norm(
                x, None, None, bn.weight, bn.bias, training=True
            )
    with one_thread(), torch.no_grad():
        d0 = per_frame.eval()(torch.from_numpy(image.transpose(0, 3, 1, 2)).float())[0][0, 0]
    d0 = (d0 - d0.min()) / (d0.max() - d0.min())
    hard = np.where(d0.numpy() > 0.5, 255.0, 0.0).astype(np.float32)
    wanted = cv2.dilate(cv2.resize(hard, (512, 512)), np.ones((7, 7), np.uint8), iterations=1)
    (found,) = matte(Portrait(portrait), tmp_path / "legacy", legacy=True)
    assert 0.05 < (wanted > 127).mean() < 0.95
    np.testing.assert_array_equal(found, np.rint(wanted))


def test_a_legacy_mask_of_a_flat_map_is_empty():
    net = u2netp()
    net.forward = lambda shown: [torch.full((1, 1, 320, 320), 0.7)]
    (mask,) = LegacyMasks(net).masks([np.zeros((512, 512, 3), np.uint8)], 512)
    assert not mask.any()


@pytest.mark.parametrize(
    ("table", "weight"),
    [
        ({}, "u2net_human_seg"),
        ({"runtime": "torch"}, "u2net_human_seg_torch"),
        ({"legacy": True}, "u2net_human_seg_torch"),
    ],
)
def test_the_stage_names_the_weight_that_it_loads(table, weight):
    config = MattingConfig(model="u2net_human_seg", u2net_human_seg=table)
    assert Matting(config).weights() == (weight,)


def test_half_precision_is_kept_to_wherever_it_runs(weights):
    assert next(model.published("u2netp", "float16").parameters()).dtype == torch.float16


def test_half_precision_asks_for_torch():
    with pytest.raises(ValidationError, match='needs runtime = "torch"'):
        MattingConfig(u2netp={"precision": "float16"})
