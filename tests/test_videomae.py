"""The content-debiased FVD: its network against the transformers library's, and its clips."""

from functools import partial

import cv2
import numpy as np
import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from evaluation.metrics import fvd
from evaluation.metrics.fvd import CLIP, ContentDebiasedFvd, DebiasedVectors
from evaluation.models import videomae
from evaluation.models.videomae import (
    SIZE,
    WEIGHT,
    ClipFeatures,
    VideoMae,
    load_clip_features,
    positions,
    to_input,
)
from infra.errors import WeightsError
from infra.weights import find_weight
from infra.weights.convert import signature_of
from stages.models.nets import one_thread
from tests.rule import blocks, generator

CLASSES = 174
"""Actions of Something-Something v2, which the published classifier tells apart."""

SMALL = {"width": 32, "depth": 2, "heads": 4, "hidden": 48}


@pytest.fixture(scope="module")
def reference() -> VideoMAEForVideoClassification:
    """A small network of the library's, with weights drawn at random."""
    config = VideoMAEConfig(
        image_size=SIZE,
        patch_size=14,
        num_frames=CLIP,
        tubelet_size=2,
        hidden_size=SMALL["width"],
        num_hidden_layers=SMALL["depth"],
        num_attention_heads=SMALL["heads"],
        intermediate_size=SMALL["hidden"],
        layer_norm_eps=1e-6,
        use_mean_pooling=True,
        num_labels=CLASSES,
        attn_implementation="eager",
    )
    net = VideoMAEForVideoClassification(config).eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(0)
    for tensor in net.state_dict().values():
        tensor.copy_(0.3 * torch.randn(tensor.shape, generator=draw))
    # The library leaves this one at torch's own; VideoMAE-v2 has the same in all its norms.
    net.fc_norm.eps = 1e-6
    return net


@pytest.fixture(scope="module")
def published(reference) -> dict[str, torch.Tensor]:
    """The library's tensors under the published checkpoint's names, the classifier's among them."""
    state, renamed = reference.state_dict(), {}
    names = {
        "patch_embed.proj": "videomae.embeddings.patch_embeddings.projection",
        "fc_norm": "fc_norm",
        "head": "classifier",
    }
    for layer in range(SMALL["depth"]):
        ours, theirs = f"blocks.{layer}.", f"videomae.encoder.layer.{layer}."
        look = f"{theirs}attention.attention."
        renamed[f"{ours}attn.q_bias"] = state[f"{look}query.bias"]
        renamed[f"{ours}attn.v_bias"] = state[f"{look}value.bias"]
        parts = [state[f"{look}{name}.weight"] for name in ("query", "key", "value")]
        renamed[f"{ours}attn.qkv.weight"] = torch.cat(parts)
        names |= {
            f"{ours}norm1": f"{theirs}layernorm_before",
            f"{ours}attn.proj": f"{theirs}attention.output.dense",
            f"{ours}norm2": f"{theirs}layernorm_after",
            f"{ours}mlp.fc1": f"{theirs}intermediate.dense",
            f"{ours}mlp.fc2": f"{theirs}output.dense",
        }
    for one, other in names.items():
        for kind in ("weight", "bias"):
            renamed[f"{one}.{kind}"] = state[f"{other}.{kind}"]
    return renamed


@pytest.fixture
def small(monkeypatch, published) -> dict[str, torch.Tensor]:
    """Makes networks small, and weights those of the library; the state that is loaded."""
    state = dict(published)
    monkeypatch.setattr(videomae, "VideoMae", partial(VideoMae, **SMALL))
    monkeypatch.setattr(videomae, "load_state", lambda weight: state)
    return state


def clips(count: int, height: int = 40, width: int = 56) -> np.ndarray:
    """Clips of coloured blocks, each darker than the one before."""
    drawn = blocks(generator("input:videomae"), 0, 256, (count * CLIP, 5, 7, 3), (1, 8, 8, 1))
    shown = [cv2.resize(frame, (width, height)) for frame in drawn]
    found = np.stack(shown).reshape(count, CLIP, height, width, 3)
    return (found * 0.7 ** np.arange(count).reshape(-1, 1, 1, 1, 1)).astype(np.uint8)


def test_features_are_the_librarys(reference, small):
    shown = clips(2)
    pooled: list[torch.Tensor] = []
    handle = reference.fc_norm.register_forward_hook(lambda net, x, found: pooled.append(found))
    with one_thread(), torch.inference_mode():
        logits = reference(pixel_values=to_input(torch.from_numpy(shown)).transpose(1, 2)).logits
    handle.remove()
    found = torch.from_numpy(load_clip_features()(shown))
    assert pooled[0].std(dim=0).mean() > 1e-2
    torch.testing.assert_close(found, pooled[0], rtol=0, atol=1e-5)
    read = torch.nn.functional.linear(found, small["head.weight"], small["head.bias"])
    torch.testing.assert_close(read, logits, rtol=0, atol=1e-4)


def test_positions_are_the_librarys(reference):
    wanted = reference.videomae.embeddings.position_embeddings[0]
    torch.testing.assert_close(positions(*wanted.shape), wanted, rtol=0, atol=1e-6)


def test_the_published_network_has_the_names_and_shapes_that_cd_fvd_loads():
    with torch.device("meta"):
        state = VideoMae().state_dict()
    shapes = {key: tuple(each.shape) for key, each in state.items()}
    assert (len(shapes), sum(each.numel() for each in state.values())) == (524, 1_011_610_752)
    shapes |= {"head.weight": (CLASSES, DebiasedVectors.width), "head.bias": (CLASSES,)}
    assert signature_of(shapes) == find_weight(WEIGHT).signature
    assert state["fc_norm.weight"].shape == (DebiasedVectors.width,)


def test_all_norms_add_the_same_to_the_variance():
    with torch.device("meta"):
        norms = [each for each in VideoMae().modules() if isinstance(each, torch.nn.LayerNorm)]
    assert (len(norms), {norm.eps for norm in norms}) == (81, {1e-6})


def test_half_precision_weights_are_taken_as_they_are(small):
    exact = load_clip_features()(clips(1))
    small |= {key: each.half() for key, each in small.items()}
    found = load_clip_features()(clips(1))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-2)


@pytest.mark.parametrize(
    ("key", "tensor", "words"),
    [
        ("blocks.1.attn.q_bias", None, "it lacks blocks.1.attn.q_bias"),
        ("blocks.0.attn.k_bias", torch.zeros(32), "it also holds blocks.0.attn.k_bias"),
        ("norm.weight", torch.ones(32), "it also holds norm.weight"),
        ("fc_norm.bias", torch.zeros(31), "it has other shapes for fc_norm.bias"),
    ],
)
def test_another_networks_weights_are_refused(small, key, tensor, words):
    small.pop(key, None)
    if tensor is not None:
        small[key] = tensor
    with pytest.raises(WeightsError, match=f"{WEIGHT} is no VideoMae: {words}"):
        load_clip_features()


@pytest.mark.parametrize("size", [(160, 96), (256, 256), (SIZE, SIZE)])
def test_frames_are_resized_bilinearly_and_brought_to_0_to_1_alone(size):
    shown = clips(2, *size)
    found = to_input(torch.from_numpy(shown)).numpy()
    assert found.shape == (2, 3, CLIP, SIZE, SIZE)
    for clip, moment in ((0, 0), (1, 7)):
        frame = shown[clip, moment].astype(np.float32) / 255
        wanted = cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(
            found[clip, :, moment], np.moveaxis(wanted, 2, 0), rtol=0, atol=1e-5
        )


def test_every_whole_clip_of_a_film_has_a_vector_however_it_is_fed(monkeypatch):
    looked: list[np.ndarray] = []

    class Look:
        def __call__(self, shown: np.ndarray) -> np.ndarray:
            looked.append(shown)
            return np.zeros((len(shown), DebiasedVectors.width), np.float32)

    monkeypatch.setattr(fvd.Offer, "load", lambda offer: Look)
    film = clips(3).reshape(-1, 40, 56, 3)[:, :40, :40][:37]
    extractor = DebiasedVectors()
    extractor.setup()
    for batch in (1, 16, 37):
        looked.clear()
        way = extractor.start(len(film), 40)
        for begin in range(0, len(film), batch):
            way.add(film[begin : begin + batch])
        assert way.finish()["vector"].shape == (2, 1408)
        np.testing.assert_array_equal(np.concatenate(looked).reshape(-1, 40, 40, 3), film[:32])


def test_what_moves_otherwise_is_farther_away(small):
    look = load_clip_features()
    still = np.repeat(clips(6)[:, :1], CLIP, axis=1)
    metric = ContentDebiasedFvd()
    reals, same, moving = (
        metric.statistics({"vector": look(shown)})
        for shown in (still, still[[3, 1, 5, 0, 4, 2]], clips(6))
    )
    assert metric.value(same, reals).value == pytest.approx(0, abs=1e-6)
    assert metric.value(moving, reals).value > 1e-3
    assert metric.value(moving, reals).warning


def test_clips_do_not_depend_on_those_beside_them(small):
    look = load_clip_features()
    shown = clips(3)
    assert isinstance(look, ClipFeatures)
    alone = np.concatenate([look(shown[[number]]) for number in range(3)])
    np.testing.assert_allclose(look(shown), alone, rtol=0, atol=1e-6)
