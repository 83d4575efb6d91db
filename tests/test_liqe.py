"""LIQE: its CLIP against the transformers library's, its crops, and its score."""

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from evaluation.models.clip import CONTEXT, SIDE, Clip
from evaluation.models.liqe import WEIGHT, Liqe, LiqeNet, crops, prompts
from infra.weights import find_weight
from infra.weights.convert import signature_of
from stages.models.nets import one_thread

WIDTH, OUT = 32, 16


def _reference() -> CLIPModel:
    """A tiny CLIP of the library's, with weights drawn at random."""
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_act": "quick_gelu",
    }
    vision = sizes | {"image_size": SIDE, "patch_size": 32}
    config = CLIPConfig(text_config=dict(sizes), vision_config=vision, projection_dim=OUT)
    torch.manual_seed(0)
    return CLIPModel(config).eval()


def _as_openai(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The library's tensors under OpenAI's names."""
    renamed = {"logit_scale": state["logit_scale"]}
    renamed["text_projection"] = state["text_projection.weight"].T
    renamed["visual.proj"] = state["visual_projection.weight"].T
    for ours, theirs in (("", "text_model."), ("visual.", "vision_model.")):
        for layer in range(2):
            block = f"{ours}transformer.resblocks.{layer}."
            source = f"{theirs}encoder.layers.{layer}."
            for kind in ("weight", "bias"):
                parts = [state[f"{source}self_attn.{each}_proj.{kind}"] for each in "qkv"]
                renamed[f"{block}attn.in_proj_{kind}"] = torch.cat(parts)
                for one, other in (
                    ("attn.out_proj", "self_attn.out_proj"),
                    ("ln_1", "layer_norm1"),
                    ("ln_2", "layer_norm2"),
                    ("mlp.c_fc", "mlp.fc1"),
                    ("mlp.c_proj", "mlp.fc2"),
                ):
                    renamed[f"{block}{one}.{kind}"] = state[f"{source}{other}.{kind}"]
    for one, other in (
        ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
        ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
        ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
        ("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
        ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ):
        renamed[one] = state[other]
    for one, other in (
        ("ln_final", "text_model.final_layer_norm"),
        ("visual.ln_pre", "vision_model.pre_layrnorm"),
        ("visual.ln_post", "vision_model.post_layernorm"),
    ):
        for kind in ("weight", "bias"):
            renamed[f"{one}.{kind}"] = state[f"{other}.{kind}"]
    return renamed


def test_clip_is_the_librarys():
    reference = _reference()
    net = Clip((WIDTH, 2, 4), (WIDTH, 2, 4), OUT).eval()
    net.load_state_dict(_as_openai(reference.state_dict()), strict=True)
    pictures = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with one_thread(), torch.inference_mode():
        wanted = reference(input_ids=prompts(), pixel_values=pictures)
        seen, said = net.pictures(pictures), net.sentences(prompts())
    torch.testing.assert_close(seen, wanted.image_embeds, rtol=0, atol=1e-5)
    torch.testing.assert_close(said, wanted.text_embeds, rtol=0, atol=1e-5)


def test_the_score_is_the_mean_level_of_the_crops_mean_logits():
    reference, net = _reference(), Clip((WIDTH, 2, 4), (WIDTH, 2, 4), OUT).eval()
    net.load_state_dict(_as_openai(reference.state_dict()), strict=True)
    frames = np.random.default_rng(3).integers(0, 256, (2, 256, 256, 3), np.uint8)
    wanted = []
    for frame in frames:
        pixels = CLIPImageProcessor()(list(crops(frame)), return_tensors="pt")["pixel_values"]
        with one_thread(), torch.inference_mode():
            seen = reference(input_ids=prompts(), pixel_values=pixels)
        shares = seen.logits_per_image.mean(dim=0).softmax(dim=0)
        wanted.append(float(shares @ torch.arange(1.0, 6.0)))
    np.testing.assert_allclose(Liqe(net)(frames), wanted, rtol=0, atol=1e-4)


def test_keys_and_numbers_are_those_of_vit_b_32():
    with torch.device("meta"):
        state = LiqeNet().state_dict()
    assert all(key.startswith("clip_model.") for key in state)
    # OpenAI's ViT-B/32 has 151,277,313 parameters in 302 tensors.
    assert (len(state), sum(each.numel() for each in state.values())) == (302, 151_277_313)
    shapes = {key: tuple(each.shape) for key, each in state.items()}
    assert signature_of(shapes) == find_weight(WEIGHT).signature


def test_prompts_end_where_the_sentence_is_read():
    tokens = prompts()
    assert tokens.shape == (5, CONTEXT)
    assert (tokens.argmax(dim=1) == 6).all()
    assert len({tuple(row) for row in tokens.tolist()}) == 5


@pytest.mark.parametrize(("size", "places"), [(224, [0]), (256, [0, 1, 2, 3])])
def test_a_small_picture_is_seen_at_all_places(size, places):
    seen = crops(_numbered(size))
    across = (size - SIDE) // 32 + 1
    wanted = [(32 * (place // across), 32 * (place % across)) for place in places]
    assert [tuple(crop[0, 0, :2]) for crop in seen] == wanted


def test_a_picture_of_512_pixels_is_seen_at_every_sixth_of_100_places():
    wanted = [(32 * (place // 10) % 256, 32 * (place % 10) % 256) for place in range(0, 90, 6)]
    seen = crops(_numbered(512))
    assert [tuple(crop[0, 0, :2]) for crop in seen] == wanted


def test_a_picture_smaller_than_a_crop_is_enlarged():
    assert crops(_numbered(160)).shape == (1, SIDE, SIDE, 3)


def _numbered(size: int) -> np.ndarray:
    """A picture whose red is the row and whose green is the column, modulo 256."""
    rows, columns = np.mgrid[:size, :size] % 256
    return np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8)
