"""What the diffusion and its cross-attention see of a picture: latents and tokens."""

import json

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from skimage.transform import resize

from infra.errors import UsageError, WeightsError
from stages.models import nets
from stages.models.nets import one_thread
from tests.rule import rule_state
from training.model import clip, vae
from training.model.blocks import BlockCodec, orthonormal_basis, zigzag
from training.model.clip import clip_pictures, load_clip, resize_smoothly
from training.model.latents import latent_channels, load_codec
from training.model.tokens import ColourToken, load_token_encoder
from training.model.vae import load_vae, newer_key
from training.recipe.tables import ModelTable

CPU = torch.device("cpu")
BLOCKS = ModelTable(latents="blocks", token="colours", token_width=48)


@pytest.fixture(autouse=True)
def _alone():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def natural():
    """Natural pictures, (3, 3, 128, 128) in [-1, 1]."""
    kinds = (skimage.data.astronaut, skimage.data.chelsea, skimage.data.coffee)
    small = [resize(kind()[:, :300], (128, 128), anti_aliasing=True) for kind in kinds]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() * 2 - 1


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Latents of blocks.


def test_the_transform_of_a_block_is_orthonormal():
    basis = orthonormal_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(192, dtype=torch.float64))


def test_the_first_coefficients_are_means_of_brightness_and_two_opponent_colours():
    codec = BlockCodec(luma=1, chroma=1)
    flat = torch.tensor([0.5, -0.25, 0.125])
    mean, _ = codec.moments(flat[None, :, None, None].expand(1, 3, 8, 8))
    red, green, blue = flat
    expected = torch.stack(
        [
            8 * (red + green + blue) / 3**0.5 / 6,
            8 * (red - blue) / 2**0.5 / 3,
            8 * (red - 2 * green + blue) / 6**0.5,
        ]
    )
    torch.testing.assert_close(mean.flatten(), expected)
    torch.testing.assert_close(codec.decode(mean)[0, :, 3, 5], flat)


def test_frequencies_are_taken_in_zigzag():
    order = zigzag()
    assert order[:10] == [
        *[(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0)]
    ]
    assert len(set(order)) == 64


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_with_all_frequencies_nothing_is_lost(seed, rows, columns):
    codec = BlockCodec(luma=64, chroma=64)
    pictures = noise(2, 3, 8 * rows, 8 * columns, seed=seed).clamp(-1, 1)
    mean, deviation = codec.moments(pictures)
    assert mean.shape == deviation.shape == (2, 192, rows, columns)
    assert not deviation.any()
    torch.testing.assert_close(codec.decode(mean), pictures, rtol=0, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    a=st.floats(-3, 3),
    b=st.floats(-3, 3),
    luma=st.integers(1, 64),
    chroma=st.integers(1, 64),
)
def test_both_ways_are_linear_and_latents_survive_a_round(seed, a, b, luma, chroma):
    codec = BlockCodec(luma, chroma)
    first, second = noise(2, 1, 3, 16, 16, seed=seed)

    def encode(pictures):
        return codec.moments(pictures)[0]

    mixed = encode(a * first + b * second)
    torch.testing.assert_close(mixed, a * encode(first) + b * encode(second), rtol=0, atol=1e-3)
    torch.testing.assert_close(
        codec.decode(mixed),
        a * codec.decode(encode(first)) + b * codec.decode(encode(second)),
        rtol=0,
        atol=1e-3,
    )
    torch.testing.assert_close(encode(codec.decode(mixed)), mixed, rtol=0, atol=1e-3)


def test_what_is_kept_is_the_nearest_picture_that_can_be(natural):
    codec = BlockCodec(luma=20, chroma=3)
    kept = codec.decode(codec.moments(natural)[0])
    lost = natural - kept
    assert abs((lost * kept).mean().item()) < 1e-6  # an orthogonal projection
    error = lost.square().mean(dim=(1, 2, 3)) / 4
    assert (-10 * error.log10() > 26).all()


def test_natural_pictures_have_latents_that_suit_the_diffusion(natural):
    """The constant coefficients about 1, all detail fainter."""
    codec = BlockCodec(luma=20, chroma=3)
    strength = codec.moments(natural)[0].square().mean(dim=(0, 2, 3)).sqrt()
    constant = strength[[0, 20, 23]]
    assert ((constant > 0.5) & (constant < 2)).all()
    detail = torch.cat([strength[1:20], strength[21:23], strength[24:26]])
    assert ((detail > 0.005) & (detail < 0.5)).all()


def test_codecs_of_other_numbers_are_other_codecs():
    assert BlockCodec(20, 3).digest == BlockCodec(20, 3).digest
    assert len({BlockCodec(*kept).digest for kept in ((20, 3), (21, 3), (20, 4), (22, 2))}) == 4


@pytest.mark.parametrize("shape", [(1, 3, 20, 16), (1, 1, 16, 16), (3, 16, 16)])
def test_pictures_without_a_whole_number_of_latents_are_refused(shape):
    with pytest.raises(ValueError, match="multiples of 8"):
        BlockCodec(20, 3).moments(torch.zeros(shape))


def test_a_table_names_its_codec_and_token():
    codec = load_codec(BLOCKS, CPU, torch.float16)
    assert codec.channels == latent_channels(BLOCKS) == 26
    assert latent_channels(ModelTable()) == 4
    assert load_token_encoder(BLOCKS, CPU, torch.float16).width == 48
    with pytest.raises(UsageError, match=r"token_width = 512, but a token of CLIP has 1024"):
        load_token_encoder(ModelTable(token_width=512), CPU, torch.float32)


# Latents of the autoencoder, and CLIP's tokens: small ones, from the registry.

SMALL_VAE = {**vae.CONFIG, "block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
SMALL_CLIP = {
    **clip.CONFIG,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "projection_dim": 16,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of small networks, by the goldens' rule, named as older files name them."""
    folder = tmp_path_factory.mktemp("weights")
    net = vae.AutoencoderKL(**SMALL_VAE)
    older = {
        key.replace("to_out.0", "proj_attn")
        .replace("to_q", "query")
        .replace("to_k", "key")
        .replace("to_v", "value"): each
        for key, each in rule_state(net.state_dict()).items()
    }
    assert older.keys() != net.state_dict().keys()
    save_file(older, folder / "sd_vae_ft_mse")
    encoder = clip.CLIPVisionModelWithProjection(clip.CLIPVisionConfig(**SMALL_CLIP))
    state = rule_state(encoder.state_dict())
    state["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    save_file(state, folder / "svd_xt_image_encoder")
    return folder


@pytest.fixture
def weights(folder, monkeypatch):
    monkeypatch.setattr(nets, "weight_path", lambda name: folder / name)
    for module, config in ((vae, SMALL_VAE), (clip, SMALL_CLIP)):
        monkeypatch.setattr(module, "identity", lambda name: f"of {name}")
        monkeypatch.setattr(module, "CONFIG", config)
    return folder


def test_the_autoencoder_gives_what_diffusers_gives(weights):
    codec = load_vae(CPU, torch.float16)  # on a processor it runs in float32
    assert codec.digest == "of sd_vae_ft_mse"
    pictures = noise(2, 3, 32, 48).clamp(-1, 1)
    mean, deviation = codec.moments(pictures)
    with torch.no_grad():
        given = codec.net.encode(pictures).latent_dist
        shown = codec.net.decode(mean).sample
    assert mean.shape == (2, 4, 4, 6)
    assert torch.equal(mean, given.mean)
    assert torch.equal(deviation, given.std)
    torch.testing.assert_close(codec.decode(mean * 0.18215), shown, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="multiples of 8"):
        codec.moments(pictures[..., :20])


def test_chunks_of_a_batch_change_nothing(weights, monkeypatch):
    codec = load_vae(CPU, torch.float32)
    pictures = noise(3, 3, 16, 16).clamp(-1, 1)
    mean, deviation = codec.moments(pictures)
    shown = codec.decode(mean)
    runs = []
    codec.net.encoder.register_forward_hook(lambda *_: runs.append("encode"))
    codec.net.decoder.register_forward_hook(lambda *_: runs.append("decode"))
    monkeypatch.setattr(vae, "PIXELS", 2 * 16 * 16)
    again = codec.moments(pictures)
    torch.testing.assert_close(again, (mean, deviation), rtol=0, atol=1e-5)
    torch.testing.assert_close(codec.decode(mean), shown, rtol=0, atol=1e-5)
    assert runs == ["encode"] * 2 + ["decode"] * 2


def test_latents_may_enter_what_is_trained(weights):
    """Those of torch's inference mode may not."""
    mean, _ = load_vae(CPU, torch.float32).moments(torch.zeros(1, 3, 16, 16))
    weight = torch.ones(1, requires_grad=True)
    (mean * weight).sum().backward()
    assert weight.grad is not None


def test_older_names_become_todays():
    assert newer_key("encoder.mid_block.attentions.0.proj_attn.bias") == (
        "encoder.mid_block.attentions.0.to_out.0.bias"
    )
    assert newer_key("decoder.mid_block.attentions.0.key.weight") == (
        "decoder.mid_block.attentions.0.to_k.weight"
    )
    for key in ("encoder.mid_block.attentions.0.to_q.weight", "quant_conv.weight"):
        assert newer_key(key) == key


def test_weights_of_another_autoencoder_are_refused(weights, monkeypatch):
    monkeypatch.setattr(vae, "CONFIG", {**SMALL_VAE, "layers_per_block": 2})
    with pytest.raises(WeightsError, match="sd_vae_ft_mse is no AutoencoderKL: it lacks"):
        load_vae(CPU, torch.float32)


def test_clips_token_is_the_embedding_of_the_picture_in_its_colours(weights):
    encoder = load_clip(CPU, torch.float32)
    assert (encoder.width, encoder.digest) == (16, "of svd_xt_image_encoder")
    colour = torch.tensor([0.48145466, 0.4578275, 0.40821073])  # CLIP's mean, which becomes 0
    mean = (2 * colour - 1)[None, :, None, None].expand(1, 3, 40, 40)
    white = torch.ones(1, 3, 40, 40)
    assert clip_pictures(mean, 28).abs().max() < 1e-5
    torch.testing.assert_close(
        clip_pictures(white, 28)[0, :, 3, 3], (1 - colour) / torch.tensor(clip.DEVIATION)
    )
    tokens = encoder(torch.cat([mean, white]))
    assert tokens.shape == (2, 1, 16)
    with torch.no_grad():
        zeros = encoder.net(torch.zeros(1, 3, 28, 28)).image_embeds
    torch.testing.assert_close(tokens[:1, 0], zeros, rtol=0, atol=1e-4)
    assert (tokens[0] - tokens[1]).abs().max() > 0.01


@pytest.mark.parametrize("shape", [(64, 64), (61, 150), (20, 20), (28, 29)])
def test_pictures_become_smaller_as_in_the_pipeline_of_svd(shape):
    pipeline = pytest.importorskip(
        "diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion"
    )
    pictures = noise(2, 3, *shape)
    expected = pipeline._resize_with_antialiasing(pictures, (28, 28))
    torch.testing.assert_close(resize_smoothly(pictures, 28), expected, rtol=0, atol=1e-5)


def test_the_published_networks_have_the_known_keys(shared):
    keys = json.loads((shared / "golden/lcvd/state_dict_keys.json").read_text())
    with torch.device("meta"):
        found = {
            "vae_sd_vae_ft_mse_assumed_config": vae.AutoencoderKL(**vae.CONFIG),
            "svd_xt_image_encoder_assumed_config": clip.CLIPVisionModelWithProjection(
                clip.CLIPVisionConfig(**clip.CONFIG)
            ),
        }
    for name, net in found.items():
        state = {key: list(each.shape) for key, each in net.state_dict().items()}
        assert state == dict(keys[name]), name


# Tokens of colours.


def test_a_token_of_colours_holds_the_means_of_a_grid():
    encoder = ColourToken(48)
    pictures = torch.zeros(1, 3, 16, 16)
    pictures[0, 1, 4:8, 12:16] = 0.5  # second row, fourth column, green
    token = encoder(pictures)
    assert token.shape == (1, 1, 48)
    assert token.flatten().nonzero().tolist() == [[16 + 4 + 3]]
    assert token.max() == 0.5


@settings(max_examples=20, deadline=None)
@given(width=st.integers(16, 1100), size=st.sampled_from([64, 100]))
def test_a_token_of_colours_has_any_width(width, size):
    token = ColourToken(width)(torch.ones(2, 3, size, size))
    grid = int((width / 3) ** 0.5 + 1e-9)
    assert token.shape == (2, 1, width)
    assert (token == F.pad(torch.ones(3 * grid**2), (0, width - 3 * grid**2))).all()
