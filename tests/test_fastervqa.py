"""FasterVQA's network against the reference's numbers, under the goldens' weight rule."""

import re
import zlib

import numpy as np
import pytest
import torch

from infra.errors import WeightsError
from stages.models.fastervqa.network import FasterVQANet
from stages.models.fastervqa.variants import VARIANTS
from stages.models.fastervqa.windows import Windows, gates, relative_index, strangers
from stages.models.nets import one_thread, ready_net
from tests.rule import blocks, generator, golden_arrays, golden_facts, pattern, rule_state

FACTS = golden_facts("fastervqa")
ARRAYS = golden_arrays("fastervqa")
CPU = torch.device("cpu")


def rule_net(precision="float32"):
    net = FasterVQANet()
    state = rule_state(net.state_dict(), keep=("relative_position_index",))
    return ready_net(net, state, name="the rule's", device=CPU, precision=precision)


@pytest.fixture(scope="module")
def net():
    return rule_net()


def fragments(case):
    """The goldens' input, (1, 3, T, S, S), normalised."""
    frames, side = FACTS[case]["T"], FACTS[case]["S"]
    size = (frames // 4, side // 16, side // 16, 3)
    levels = blocks(generator(f"input:fastervqa_{case}"), 0, 200, size, (4, 16, 16))
    levels = levels + pattern(56, levels.shape)
    assert zlib.crc32(levels.tobytes()) == FACTS[case]["input_crc32"]
    mean = np.array([123.675, 116.28, 103.53], np.float32)
    deviation = np.array([58.395, 57.12, 57.375], np.float32)
    return torch.from_numpy((levels - mean) / deviation).permute(3, 0, 1, 2)[None]


def run(net, clips):
    """The map of quality, and what every part of the backbone gave, (B, C, T, H, W) each."""
    backbone = net.fragments_backbone
    parts = {"patch_embed": backbone.patch_embed, "norm": backbone.norm}
    for i, layer in enumerate(backbone.layers):
        parts[f"stage{i}"] = layer
        parts |= {f"stage{i}_block{j}": block for j, block in enumerate(layer.blocks)}
    given = {}

    def keep(name):
        def hook(_module, _arguments, out):
            given[name] = out.permute(0, 4, 1, 2, 3)

        return hook

    hooks = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
    with one_thread(), torch.inference_mode():
        rated = net(clips)
    for hook in hooks:
        hook.remove()
    return rated, given


@pytest.fixture(scope="module", params=["mt", "ms", "full"])
def outcome(request, net):
    """Case, map of quality and features. ``full`` takes 3 s of one core."""
    return request.param, *run(net, fragments(request.param))


def test_names_shapes_types_and_order_of_the_state_dict_are_the_checkpoints(net):
    found = [
        (name, [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")])
        for name, tensor in net.state_dict().items()
    ]
    assert found == list(golden_facts("fastervqa_keys").items())


def test_the_index_of_pairs_is_the_checkpoints():
    found = relative_index().numpy().astype("<i8")
    assert zlib.crc32(found.tobytes()) == FACTS["rpi_crc32_int64_le"]


def test_the_map_of_quality_is_the_references(outcome):
    case, rated, _ = outcome
    assert rated.shape == ARRAYS[f"{case}_qmap"].shape
    np.testing.assert_allclose(rated, ARRAYS[f"{case}_qmap"], rtol=0, atol=2e-5)
    assert float(rated.mean()) == pytest.approx(FACTS[case]["raw"], abs=2e-6)


def test_every_stage_gives_what_the_references_does(outcome):
    case, _, given = outcome
    for name in ("patch_embed", "stage0", "stage1", "stage2", "stage3", "norm"):
        flat = given[name].flatten().numpy()
        picks = np.linspace(0, flat.size - 1, 256).astype(np.int64)
        golden = ARRAYS[f"{case}_{name}_samples"]
        np.testing.assert_allclose(flat[picks], golden, rtol=0, atol=2e-5, err_msg=name)


def test_every_block_has_the_references_means(outcome):
    case, _, given = outcome
    recorded = [part for part in given if f"{case}_{part}_chmean" in ARRAYS]
    assert len(recorded) == (18 if case == "full" else 6)
    for part in recorded:
        means = given[part].mean(dim=(0, 2, 3, 4))
        golden = ARRAYS[f"{case}_{part}_chmean"]
        np.testing.assert_allclose(means, golden, rtol=0, atol=2e-5, err_msg=part)


@pytest.mark.parametrize("name", FACTS["grpb_gate_checks"])
def test_gates_are_the_references(name):
    golden = FACTS["grpb_gate_checks"][name]
    words = re.fullmatch(r"T\d+_H\d+_base\((.*)\)_shift\((.*)\)", name)
    size, shift = (tuple(map(int, numbers.split(","))) for numbers in words.groups())
    windows = Windows.fit(tuple(golden["padded"]), size, shift)
    assert (list(windows.size), list(windows.shift)) == (golden["window"], golden["shift"])
    found = gates(windows, CPU).numpy()
    assert found.shape == tuple(golden["shape"])
    assert zlib.crc32(found.tobytes()) == golden["crc32_uint8"]


@pytest.mark.parametrize("shift", [(0, 0, 0), (4, 3, 3)])
def test_windows_are_joined_to_what_was_split(shift):
    x = torch.arange(2 * 16 * 14 * 14 * 3).reshape(2, 16, 14, 14, 3)
    windows = Windows.fit((16, 14, 14), (8, 7, 7), shift)
    assert windows.split(x).shape == (2, 8, 392, 3)
    assert torch.equal(windows.join(windows.split(x)), x)


def test_tokens_are_strangers_where_rolling_brought_them_together():
    # Along one axis of 8 tokens, windows of 4, shift 2: the last window holds 6, 7, 0, 1.
    windows = Windows.fit((1, 1, 8), (1, 1, 4), (0, 0, 2))
    apart = strangers(windows, CPU)
    assert not apart[0].any()
    assert apart[1].tolist() == [[i // 2 != j // 2 for j in range(4)] for i in range(4)]
    assert strangers(Windows.fit((1, 1, 8), (1, 1, 4), (0, 0, 0)), CPU) is None


def test_tokens_that_fill_no_windows_are_refused():
    with pytest.raises(ValueError, match=r"\(16, 15, 14\) tokens cannot be cut into windows"):
        Windows.fit((16, 15, 14), (8, 7, 7), (4, 3, 3))


def small_clips(count):
    """Clips that are quick to rate, (count, 3, 8, 64, 64)."""
    drawn = generator("small clips").standard_normal((count, 3, 8, 64, 64))
    return torch.from_numpy(drawn.astype(np.float32))


def test_a_clip_has_the_same_map_in_a_batch(net):
    clips = small_clips(3)
    with one_thread(), torch.inference_mode():
        together = net(clips)
        alone = torch.cat([net(clip[None]) for clip in clips])
    np.testing.assert_allclose(together, alone, rtol=0, atol=2e-6)
    assert (alone[0] - alone[1]).abs().max() > 1e-2


@pytest.mark.parametrize(("precision", "error"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_a_shorter_precision_gives_nearly_the_same_map(net, precision, error):
    dtype, clips = getattr(torch, precision), small_clips(2)
    with one_thread(), torch.inference_mode():
        exact, rated = net(clips), rule_net(precision)(clips.to(dtype))
    assert rated.dtype == dtype
    assert 0 < (rated.float() - exact).abs().max() < error


@pytest.mark.parametrize(
    ("column", "variant"), [("FasterVQA", "base"), ("FasterVQA-MT", "mt"), ("FasterVQA-MS", "ms")]
)
def test_raw_scores_are_rescaled_as_published(column, variant):
    for row in FACTS["rescale_table"]:
        assert VARIANTS[variant].score(row["raw"]) == pytest.approx(row[column], abs=1e-12)


@pytest.mark.parametrize("case", ["mt", "ms", "full"])
def test_the_goldens_raw_scores_are_rescaled_to_theirs(case):
    names = {"FasterVQA": "base", "FasterVQA-MT": "mt", "FasterVQA-MS": "ms"}
    variant = VARIANTS[names[FACTS[case]["rescale_model"]]]
    assert variant.score(FACTS[case]["raw"]) == pytest.approx(FACTS[case]["rescaled"], abs=1e-6)
    assert (variant.frames, 32 * variant.grid) == (FACTS[case]["T"], FACTS[case]["S"])


def test_weights_of_another_architecture_are_refused():
    with torch.device("meta"):
        net = FasterVQANet()
    state = net.state_dict()
    del state["fragments_backbone.layers.2.blocks.5.attn.fragment_position_bias_table"]
    with pytest.raises(WeightsError, match=r"mine is no FasterVQANet: it lacks .*blocks\.5"):
        ready_net(net, state, name="mine", device=CPU)
