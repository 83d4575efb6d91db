"""LCVD's network against the reference's numbers, and where its weights come from."""

import copy
import json
from functools import reduce

import pytest
import torch

from infra.errors import UsageError, WeightsError
from stages.models.nets import one_thread
from tests.rule import GOLDEN, golden_arrays, golden_facts, rule_state
from training.model import official
from training.model.adapters import Adapter
from training.model.lcvd import Lcvd, unet_config
from training.model.official import initial_model
from training.model.weights import weights_of
from training.recipe.tables import ModelTable

FACTS = golden_facts("unet_tiny")
TABLE = ModelTable(
    start="random",
    adapters=("shading", "reference", "landmarks"),
    channels=(32, 64),
    heads=(2, 4),
    layers=1,
    token="colours",
    token_width=32,
)
BATCH, FRAMES = 2, 4
TIME_IDS = torch.tensor([[6.0, 127.0, 0.02]])


@pytest.fixture(autouse=True)
def _alone():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def golden():
    """The tiny UNet's inputs and the reference's outputs."""
    return {name: torch.from_numpy(each) for name, each in golden_arrays("unet_tiny").items()}


@pytest.fixture(scope="module")
def lcvd():
    """The goldens' UNet and adapters under the rule's weights."""
    lcvd = Lcvd.build(TABLE)
    lcvd.unet.load_state_dict(rule_state(lcvd.unet.state_dict()))
    for adapter in lcvd.adapters.values():
        adapter.load_state_dict(rule_state(adapter.state_dict()))
    return lcvd.eval().requires_grad_(False)


def inputs(golden):
    """The goldens' inputs but for the features."""
    names = ("sample", "timestep", "encoder_hidden_states", "added_time_ids")
    return [golden[f"in_{name}"] for name in names]


def golden_features(golden, case):
    """Sum of the features that a case of the goldens has, (B, F, width, h, w)."""
    each = [golden[f"in_{name}"].unflatten(0, (BATCH, FRAMES)) for name in FACTS["cases"][case]]
    return reduce(torch.add, each) if each else None


def pictures():
    """The pictures of a batch, whose reference is the same in all frames."""
    make = torch.Generator().manual_seed(0)
    wide = {"shading": FRAMES, "landmarks": FRAMES, "reference": 1}
    return {
        stream: torch.rand(BATCH, frames, 3, 128, 128, generator=make)
        for stream, frames in wide.items()
    }


def test_adapters_give_the_references_numbers():
    golden = golden_arrays("adapters")
    adapter = Adapter()
    found = [[key, list(each.shape)] for key, each in adapter.state_dict().items()]
    assert found == golden_facts("adapters")["state_dict_keys"]
    adapter.load_state_dict(rule_state(adapter.state_dict()))
    with torch.inference_mode():
        made = adapter(torch.from_numpy(golden["input"])[0])
    torch.testing.assert_close(made, torch.from_numpy(golden["output"]), rtol=0, atol=1e-7)


def test_a_new_adapter_gives_zeros_until_its_projection_is_trained():
    adapter = Adapter(32)
    made = adapter(torch.rand(1, 3, 32, 32))
    assert made.shape == (1, 32, 4, 4)
    assert not made.any()
    made.sum().backward()
    assert adapter.final_proj.weight.grad.any()
    assert adapter.scale.item() == 2
    deepest = adapter.conv_layers[14].weight  # its 73728 numbers tell their deviation to 0.3%
    assert deepest.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


def test_the_tiny_unet_is_configured_as_the_references():
    found = {key: each for key, each in FACTS["config"].items() if key in unet_config(TABLE)}
    assert json.loads(json.dumps(unet_config(TABLE))) == found
    assert FACTS["config"].keys() - found.keys() == {"sample_size", "num_frames"}


@pytest.mark.parametrize("case", FACTS["cases"])
def test_the_hook_equals_the_references_edited_unet(lcvd, golden, case):
    made = lcvd(*inputs(golden), golden_features(golden, case))
    torch.testing.assert_close(made, golden[f"out_{case}"], rtol=0, atol=2e-5)


def test_samples_with_different_conditions_share_a_batch(lcvd, golden):
    """As the branches of guidance do: the first sample here is lit, the second is not."""
    features = golden_features(golden, "light_ref").clone()
    features[1] = 0
    together = lcvd(*inputs(golden), features)
    torch.testing.assert_close(together[0], golden["out_light_ref"][0], rtol=0, atol=2e-5)
    torch.testing.assert_close(together[1], golden["out_none"][1], rtol=0, atol=2e-5)


def test_the_published_unets_keys_shapes_and_heads_are_built():
    with torch.device("meta"):
        unet = Lcvd.build(ModelTable()).unet
    keys = json.loads((GOLDEN / "lcvd_unet_keys.json").read_text())
    assert [(key, list(each.shape)) for key, each in unet.state_dict().items()] == [
        (key, shape) for key, (shape, _) in keys.items()
    ]
    heads = [block.attentions[0].num_attention_heads for block in unet.down_blocks[:3]]
    assert [*heads, unet.mid_block.attentions[0].num_attention_heads] == [5, 10, 20, 20]


@pytest.mark.parametrize("channels", [(32,), (32, 32, 64)])
def test_unets_of_other_depths_work(channels):
    table = ModelTable(channels=channels, heads=(2,) * len(channels), layers=1, token_width=16)
    lcvd = Lcvd.build(table)
    with torch.inference_mode():
        made = lcvd(torch.zeros(1, 2, 8, 6, 6), torch.zeros(1), torch.zeros(1, 1, 16), TIME_IDS)
    assert made.shape == (1, 2, 4, 6, 6)


@pytest.mark.parametrize(("channels", "heads"), [((40, 64), (2, 4)), ((32, 64), (3, 4))])
def test_sizes_that_no_unet_has_are_refused(channels, heads):
    with pytest.raises(UsageError, match=rf"{channels[0]} channels and {heads[0]} heads"):
        unet_config(ModelTable(channels=channels, heads=heads))


def test_pictures_are_seen_through_the_adapters(lcvd, golden):
    seen = pictures()
    repeated = {**seen, "reference": seen["reference"].expand(-1, FRAMES, -1, -1, -1)}
    features = lcvd.features(repeated)
    assert features.shape == (BATCH, FRAMES, 32, 16, 16)
    torch.testing.assert_close(lcvd.features(seen), features, rtol=0, atol=1e-6)
    by_hand = sum(
        lcvd.adapters[stream](each.flatten(0, 1)).unflatten(0, (BATCH, FRAMES))
        for stream, each in repeated.items()
    )
    torch.testing.assert_close(features, by_hand, rtol=0, atol=1e-6)
    made = lcvd(*inputs(golden), pictures=seen)
    torch.testing.assert_close(made, lcvd(*inputs(golden), features), rtol=0, atol=1e-5)


def test_each_sample_keeps_its_own_conditions(lcvd):
    seen = pictures()
    keep = {"shading": torch.tensor([1.0, 0.0]), "landmarks": torch.zeros(2)}
    features = lcvd.features(seen, keep)
    lit, unlit = (
        lcvd.features({"shading": seen["shading"]}),
        lcvd.features({"reference": seen["reference"]}),
    )
    torch.testing.assert_close(features[0], lit[0] + unlit[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(features[1], unlit[1].expand_as(features[1]), rtol=0, atol=1e-6)


def test_a_condition_that_no_sample_keeps_still_has_gradients():
    lcvd = Lcvd.build(TABLE)
    lcvd.features(pictures(), {"landmarks": torch.zeros(2)}).sum().backward()
    gradient = lcvd.adapters["landmarks"].final_proj.weight.grad
    assert gradient is not None
    assert not gradient.any()


def test_wrong_conditions_are_refused_by_name(lcvd, golden):
    some = golden_features(golden, "ref")
    with pytest.raises(ValueError, match="'depth'; there are adapters for shading, reference"):
        lcvd.features({"depth": torch.zeros(1, 1, 3, 8, 8)})
    with pytest.raises(ValueError, match="no pictures"):
        lcvd.features({})
    with pytest.raises(ValueError, match="not both"):
        lcvd(*inputs(golden), some, pictures=pictures())


def test_nothing_of_a_call_stays_behind(lcvd, golden, monkeypatch):
    features = golden_features(golden, "all")
    sample, timestep, _, time_ids = inputs(golden)
    with pytest.raises(RuntimeError):
        lcvd(sample, timestep, torch.zeros(BATCH, 1, 31), time_ids, features)
    assert not lcvd.unet.conv_in._forward_hooks
    torch.testing.assert_close(lcvd(*inputs(golden)), golden["out_none"], rtol=0, atol=2e-5)


def test_a_copy_is_conditioned_by_itself(lcvd, golden):
    twin = copy.deepcopy(lcvd)
    features = golden_features(golden, "light")

    def copy_is_run_within(module, given):
        handle.remove()
        inside.append(twin(*inputs(golden)))

    inside = []
    handle = lcvd.unet.mid_block.register_forward_pre_hook(copy_is_run_within)
    made = lcvd(*inputs(golden), features)
    torch.testing.assert_close(made, golden["out_light"], rtol=0, atol=2e-5)
    torch.testing.assert_close(inside[0], golden["out_none"], rtol=0, atol=2e-5)


def test_checkpointing_changes_no_gradient(lcvd, golden):
    seen = pictures()
    gradients = []
    for on in (False, True):
        net = copy.deepcopy(lcvd).train().requires_grad_(True)
        net.checkpointing(on)
        passes = []
        net.adapters["shading"].register_forward_pre_hook(
            lambda *_, passes=passes: passes.append(1)
        )
        net(*inputs(golden), pictures=seen).square().mean().backward()
        assert len(passes) == 1 + on
        gradients.append({name: each.grad for name, each in net.named_parameters()})
    kept, again = gradients
    assert kept.keys() == again.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-5, atol=1e-7)
    assert kept["adapters.reference.conv_layers.0.weight"].any()
    assert kept["unet.conv_in.weight"].any()


# Where the weights come from.


@pytest.fixture
def published(monkeypatch):
    """Weights as of LCVD's and SVD-XT's authors, in half precision, as large as the goldens'."""
    sizes = TABLE.model_copy(update={"start": "svd-xt"})
    net = Lcvd.build(TABLE)
    states = {
        name: {key: each.half() for key, each in rule_state(part.state_dict()).items()}
        for name, part in {
            "svd_xt_unet": net.unet,
            "lcvd_unet": net.unet,
            "lcvd_light_embedder": net.adapters["shading"],
            "lcvd_ref_embedder": net.adapters["reference"],
            "lcvd_head_embedder": net.adapters["landmarks"],
        }.items()
    }
    monkeypatch.setattr(official, "_SVD_XT", sizes)
    monkeypatch.setattr(official, "load_state", states.__getitem__)
    return states


@pytest.mark.parametrize("start", ["svd-xt", "lcvd"])
def test_training_starts_from_published_weights(published, start):
    net = initial_model(TABLE.model_copy(update={"start": start}))
    assert net.training
    assert all(each.requires_grad and each.dtype == torch.float32 for each in net.parameters())
    unet = published["lcvd_unet" if start == "lcvd" else "svd_xt_unet"]
    assert all(torch.equal(each, unet[key].float()) for key, each in net.unet.state_dict().items())
    light = net.adapters["shading"].state_dict()
    trained = published["lcvd_light_embedder"]
    same = all(torch.equal(each, trained[key].float()) for key, each in light.items())
    assert same == (start == "lcvd")
    assert light["final_proj.weight"].any() == (start == "lcvd")


def test_weights_of_another_network_are_refused(published):
    published["lcvd_ref_embedder"].pop("scale")
    with pytest.raises(WeightsError, match="lcvd_ref_embedder is no Adapter: it lacks scale"):
        initial_model(TABLE.model_copy(update={"start": "lcvd"}))


def test_published_weights_are_refused_for_other_sizes():
    table = ModelTable(latents="blocks", heads=(5, 10, 10, 20))
    with pytest.raises(UsageError, match=r"heads = \(5, 10, 20, 20\), latents = 'vae'") as error:
        initial_model(table)
    assert 'model.start = "random"' in error.value.hint


def test_random_weights_are_decided_by_their_seed():
    before = torch.get_rng_state()
    first, again, other = (initial_model(TABLE, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(each, again[key]) for key, each in first.items())
    assert not torch.equal(first["unet.conv_in.weight"], other["unet.conv_in.weight"])


def test_a_driver_learns_which_weights_are_needed():
    assert weights_of(ModelTable(), start=True) == (
        "sd_vae_ft_mse",
        "svd_xt_image_encoder",
        "svd_xt_unet",
    )
    assert weights_of(ModelTable(start="lcvd"), start=True)[2:] == (
        "lcvd_unet",
        "lcvd_light_embedder",
        "lcvd_ref_embedder",
    )
    assert weights_of(ModelTable(), start=False) == ("sd_vae_ft_mse", "svd_xt_image_encoder")
    assert weights_of(TABLE.model_copy(update={"latents": "blocks"}), start=True) == ()
