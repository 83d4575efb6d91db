from itertools import pairwise

import numpy as np
import pytest
import torch

from evaluation.models import i3d, inception_input
from evaluation.models.i3d import ClipLogits, InceptionI3d
from evaluation.models.inception import SIZE, Inception
from evaluation.models.inception_input import PictureFeatures, Resizing, to_input
from infra.errors import WeightsError
from infra.weights import find_weight
from infra.weights.convert import signature_of
from stages.models.nets import ready_net
from tests.rule import blocks, generator, golden_arrays, golden_facts, pattern, rule_state

GAIN = np.float32(np.sqrt(2))
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def gained(net: torch.nn.Module, ndim: int) -> dict[str, torch.Tensor]:
    state = rule_state(net.state_dict())
    return {key: value * GAIN if value.ndim == ndim else value for key, value in state.items()}


def keys_of(net: torch.nn.Module) -> dict[str, list]:
    return {k: [list(v.shape), str(v.dtype)[6:]] for k, v in net.state_dict().items()}


@pytest.fixture(scope="module")
def inception() -> Inception:
    net = Inception()
    return ready_net(net, gained(net, 4), name="inception_fid", device=CPU)


def stills(height: int, width: int) -> torch.Tensor:
    """The fixture's four pictures (4, 3, H, W)."""
    rng = generator(f"input:inception_{height}x{width}")
    pictures = []
    for k, by in enumerate((8, 16, 32, 64)):
        size = (-(-height // by), -(-width // by), 3)
        drawn = blocks(rng, 0, 256, size, (by, by))[:height, :width].astype(int)
        pictures.append(drawn * (k + 1) * 3 // 16 + pattern(64, (height, width, 3)))
    return torch.from_numpy(np.stack(pictures).astype(np.uint8)).permute(0, 3, 1, 2)


# FID's Inception.


def test_inception_s_state_dict_is_the_reference_s(inception):
    assert keys_of(inception) == golden_facts("inception_fid_keys")
    assert list(inception.state_dict()) == list(golden_facts("inception_fid_keys"))


def test_the_registry_knows_inception_s_checkpoint(inception):
    shapes = {key: tuple(value.shape) for key, value in inception.state_dict().items()}
    assert find_weight("inception_fid").signature == signature_of(shapes)


@pytest.mark.parametrize("size", [(299, 299), (128, 160)])
def test_inception_s_features_are_the_reference_s(inception, size):
    golden, tag = golden_arrays("inception_fid"), f"{size[0]}x{size[1]}"
    with torch.inference_mode():
        taps = inception.taps(to_input(stills(*size), "torch-fidelity"))
        logits = inception.fc(taps["2048"])
    for name, found in taps.items():
        np.testing.assert_allclose(found, golden[f"{tag}_{name}"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits, golden[f"{tag}_logits"], rtol=0, atol=1e-5)


def test_pytorch_fid_s_features_are_the_reference_s(inception, monkeypatch):
    monkeypatch.setattr(inception_input, "load_state", lambda weight: inception.state_dict())
    pictures = stills(128, 160).permute(0, 2, 3, 1).numpy()
    wanted = golden_arrays("inception_fid")["128x160_2048_pytorch_fid"]
    found = PictureFeatures("pytorch-fid")(pictures)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_tensorflow_s_resizing_is_the_reference_s():
    found = to_input(stills(128, 160)[:1], "torch-fidelity")[0, :, [0, 150, 298]]
    wanted = golden_arrays("inception_fid")["128x160_resized_rows0_150_298_img0"]
    print(found.shape, wanted.shape, found[:, 0, :4], wanted[:, 0, :4], wanted[0, :, :4])
    np.testing.assert_allclose(found * 128 + 128, wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(128, 160), (512, 512)])
def test_clean_resizing_is_pillow_s(size):
    image = pytest.importorskip("PIL.Image")
    picture = stills(*size)[0]
    channels = [
        image.fromarray(channel.numpy().astype(np.float32), "F").resize((SIZE, SIZE), image.BICUBIC)
        for channel in picture
    ]
    wanted = np.clip(np.stack([np.asarray(channel) for channel in channels]), 0, 255)
    found = to_input(picture[None], "clean-fid")[0] * 128 + 128
    # The largest difference found is 0.0014 of a level of 255.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3)


def test_ways_of_resizing_differ():
    ways: list[Resizing] = ["pytorch-fid", "clean-fid", "torch-fidelity"]
    found = [to_input(stills(128, 160)[:1], way) for way in ways]
    for one, other in pairwise(found):
        assert (one - other).abs().mean() > 1e-3


# I3D.


def test_i3d_s_state_dict_is_the_reference_s():
    with torch.device("meta"):
        net = InceptionI3d()
    assert keys_of(net) == golden_facts("i3d_keys")
    assert list(net.state_dict()) == list(golden_facts("i3d_keys"))


def film(tag: str, size: tuple[int, int, int]) -> np.ndarray:
    """The fixture's two clips (2, T, H, W, 3)."""
    rng = generator(f"input:i3d_{tag}")
    length, height, width = size
    clips = []
    for by in (8, 32):
        cells = (-(-length // 4), -(-height // by), -(-width // by), 3)
        drawn = blocks(rng, 0, 200, cells, (4, by, by))[:length, :height, :width]
        clips.append(drawn + pattern(56, (*size, 3)))
    return np.stack(clips)


@pytest.mark.parametrize("size", [(16, 128, 160), (10, 224, 224)])
def test_i3d_s_logits_are_the_reference_s(monkeypatch, size):
    state = gained(InceptionI3d(), 5)
    # As an older torch wrote it.
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    monkeypatch.setattr(i3d, "load_state", lambda weight: old)
    tag = f"t{size[0]}_{size[1]}x{size[2]}"
    clips, golden = film(tag, size), golden_arrays("i3d")
    shown = i3d.to_input(torch.from_numpy(clips))
    np.testing.assert_allclose(shown[0, :, 0, 0], golden[f"{tag}_pre_row0"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(ClipLogits()(clips), golden[f"{tag}_logits"], rtol=0, atol=2e-5)


def test_i3d_refuses_weights_of_another_network(monkeypatch):
    monkeypatch.setattr(i3d, "load_state", lambda weight: {"logits.conv3d.bias": torch.zeros(400)})
    with pytest.raises(WeightsError, match="i3d is no InceptionI3d: it lacks"):
        ClipLogits()
