"""LPIPS: the network against the goldens."""

import numpy as np
import pytest
import torch

from evaluation.models import lpips
from evaluation.models.codes import encode
from evaluation.models.lpips import WEIGHTS, Lpips, LpipsCoder, LpipsName
from infra.errors import WeightsError
from infra.weights import pull, registry
from infra.weights.convert import signature_of
from stages.models.nets import load_state, ready_net
from tests.rule import golden_arrays, golden_facts, rule_weight

CASES = [("alex", "rule"), ("alex", "gain_sqrt2"), ("vgg", "gain_sqrt2")]


def trunk_state(name: str, variant: str) -> dict[str, torch.Tensor]:
    """The trunk's tensors by the rule, under torchvision's names."""
    gain = np.float32(2**0.5 if variant == "gain_sqrt2" else 1)
    state = {}
    for theirs, ours in golden_facts("lpips")[f"{name}_trunk_key_map"].items():
        shape, _ = golden_facts("lpips_keys")[name][theirs]
        tensor = rule_weight(theirs, tuple(shape))
        state[ours] = torch.from_numpy(tensor * gain if tensor.ndim == 4 else tensor)
    return state


def heads_state(name: LpipsName) -> dict[str, torch.Tensor]:
    heads = WEIGHTS[name][1]
    pull(heads)
    return load_state(heads)


def golden_net(name: LpipsName, variant: str) -> Lpips:
    state = trunk_state(name, variant) | heads_state(name)
    return ready_net(Lpips(name), state, name="golden", device=torch.device("cpu"))


def golden_pictures() -> list[np.ndarray]:
    arrays = golden_arrays("lpips")
    return [arrays["img0"], arrays["img1"]]


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_distances_are_the_reference_s(name, variant):
    net = golden_net(name, variant)
    facts = golden_facts("lpips")["nets"][f"{name}_{variant}"]
    first, second = (encode(net, pictures) for pictures in golden_pictures())
    distances = np.square(first - second).sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(distances, facts["dist"], rtol=0, atol=1e-6)

    pictures = [torch.from_numpy(p).permute(0, 3, 1, 2) / 127.5 - 1 for p in golden_pictures()]
    with torch.inference_mode():
        layers = [net.layers(each) for each in pictures]
    maps = [(x - y).square().sum(1, keepdim=True) for x, y in zip(*layers, strict=True)]
    means = [each.mean((1, 2, 3)).numpy() for each in maps]
    np.testing.assert_allclose(means, facts["per_layer"], rtol=0, atol=1e-6)
    enlarged = [torch.nn.functional.interpolate(each, (64, 64), mode="bilinear") for each in maps]
    spatial = torch.stack(enlarged).sum(0)[:, 0, ::4, ::4].numpy()
    golden = golden_arrays("lpips")[f"{name}_{variant}_spatial_map_stride4"]
    np.testing.assert_allclose(spatial, golden, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["alex", "vgg"])
def test_keys_are_those_of_the_trunk_and_of_the_heads_file(name):
    with torch.device("meta"):
        own = {key: list(value.shape) for key, value in Lpips(name).state_dict().items()}
    key_map = golden_facts("lpips")[f"{name}_trunk_key_map"]
    theirs = {
        key_map.get(key, key): shape
        for key, (shape, _) in golden_facts("lpips_keys")[name].items()
        if not key.startswith(("scaling_layer", "lins."))
    }
    assert own == theirs


@pytest.mark.parametrize("name", ["alex", "vgg"])
def test_heads_are_known_by_digest_and_count_nothing_below_zero(name):
    weight = registry()[WEIGHTS[name][1]]
    assert weight.sha256 == golden_facts("lpips")["heads_sha256"][f"{name}.pth"]
    heads = heads_state(name)
    assert signature_of({key: tuple(head.shape) for key, head in heads.items()}) == weight.signature
    assert all(head.min() >= 0 for head in heads.values())


def test_the_coder_leaves_the_classifier_out_and_is_strict_beside(monkeypatch):
    """A torchvision file holds three layers that LPIPS has no use for."""
    files = {
        "alexnet": trunk_state("alex", "rule") | {"classifier.1.bias": torch.zeros(4096)},
        "lpips_alex_heads": heads_state("alex"),
    }
    monkeypatch.setattr(lpips, "load_state", files.__getitem__)
    first, second = (LpipsCoder()(pictures) for pictures in golden_pictures())
    golden = golden_facts("lpips")["nets"]["alex_rule"]["dist"]
    np.testing.assert_allclose(np.square(first - second).sum(1), golden, rtol=0, atol=1e-6)

    files["alexnet"].pop("features.3.bias")
    with pytest.raises(WeightsError, match="alexnet with lpips_alex_heads is no Lpips: it lacks"):
        LpipsCoder()
