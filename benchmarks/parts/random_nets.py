"""Autoencoder and token encoder of random weights: no number of theirs changes the work."""

import torch

from stages.models.nets import N, precision_on, ready_net
from training.model.latents import LatentCodec, load_codec
from training.model.tokens import TokenEncoder, load_token_encoder
from training.recipe.tables import ModelTable

_DIGEST = "random"


def random_codec(table: ModelTable, device: torch.device, dtype: torch.dtype) -> LatentCodec:
    """As `training.model.latents.load_codec`, but an autoencoder has random weights."""
    if table.latents == "blocks":
        return load_codec(table, device, dtype)
    from training.model.networks import AutoencoderKL
    from training.model.vae import CONFIG, VaeCodec

    with device:
        net = AutoencoderKL(**CONFIG)
    return VaeCodec(_ready(net, device, dtype), _DIGEST)


def random_tokens(table: ModelTable, device: torch.device, dtype: torch.dtype) -> TokenEncoder:
    """As `training.model.tokens.load_token_encoder`, but CLIP has random weights."""
    if table.token == "colours":
        return load_token_encoder(table, device, dtype)
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from training.model.clip import CONFIG, ClipToken

    with device:
        net = CLIPVisionModelWithProjection(CLIPVisionConfig(**CONFIG))
    return ClipToken(_ready(net, device, dtype), _DIGEST)


def _ready(net: N, device: torch.device, dtype: torch.dtype) -> N:
    """In the very state in which a published one is used."""
    precision = precision_on(device, dtype)
    return ready_net(net, net.state_dict(), name=_DIGEST, device=device, precision=precision)
