"""The reference's CLIP embedding (ViT-H/14), as Stable Video Diffusion's pipeline takes it."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from infra.weights import identity
from stages.models.nets import load_state, precision_on, ready_net
from training.model.weights import IMAGE_ENCODER

WIDTH = 1024
"""Numbers of an embedding."""

CONFIG: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
    "projection_dim": WIDTH,
    "hidden_act": "gelu",
}
"""Arguments of transformers' CLIPVisionConfig: those of SVD-XT's image encoder."""

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of the colours in [0, 1] that CLIP was trained on."""


class ClipToken:
    """An embedding as a token; without gradients.

    Args:
        net: The network, ready to run.
        digest: Of its weights.
    """

    def __init__(self, net: CLIPVisionModelWithProjection, digest: str) -> None:
        self.net = net
        self.width: int = net.config.projection_dim
        self._size: Any = net.config.image_size
        self.digest = digest

    @torch.no_grad()
    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """See `TokenEncoder.__call__`."""
        weight = self.net.visual_projection.weight
        seen = clip_pictures(pictures.to(weight.device), self._size)
        tokens: torch.Tensor = self.net(seen.to(weight)).image_embeds
        return tokens.float()[:, None]


def clip_pictures(pictures: torch.Tensor, size: int) -> torch.Tensor:
    """Pictures in CLIP's colours and size.

    Args:
        pictures: (B, 3, H, W) in [-1, 1].
        size: Pixels of a side, of the result.
    """
    small = resize_smoothly(pictures.float(), size)
    mean, deviation = (small.new_tensor(each)[:, None, None] for each in (MEAN, DEVIATION))
    return ((small + 1) / 2 - mean) / deviation


def resize_smoothly(pictures: torch.Tensor, size: int) -> torch.Tensor:
    """Pictures (B, 3, H, W) in another size, blurred before, as far as they become smaller.

    A Gaussian of deviation (factor - 1) / 2, cut at twice that, then a bicubic resize that leaves
    the corners in their place: what SVD-XT's pipeline does, as kornia did in its training.
    """
    for dim in (-1, -2):
        deviation = max((pictures.shape[dim] / size - 1) / 2, 0.001)
        pictures = _blurred(pictures, dim, deviation, reach=int(max(4 * deviation, 3)) // 2)
    return F.interpolate(pictures, size=(size, size), mode="bicubic", align_corners=True)


def _blurred(pictures: torch.Tensor, dim: int, deviation: float, reach: int) -> torch.Tensor:
    """Pictures blurred along one of their sides, mirrored at the border."""
    place = torch.arange(-reach, reach + 1, device=pictures.device, dtype=pictures.dtype)
    kernel = torch.softmax(-place.square() / (2 * deviation**2), 0)
    along, padding = (
        ((1, -1), (reach, reach, 0, 0)) if dim == -1 else ((-1, 1), (0, 0, reach, reach))
    )
    padded = F.pad(pictures, padding, mode="reflect")
    colours = pictures.shape[1]
    return F.conv2d(padded, kernel.view(1, 1, *along).expand(colours, 1, -1, -1), groups=colours)


def load_clip(device: torch.device, dtype: torch.dtype) -> ClipToken:
    """The encoder with its weights from the registry.

    Args:
        device: Where it shall run.
        dtype: Number format of its arithmetic; on a processor it is always float32.

    Raises:
        WeightsError: The weights are not here, or are others.
    """
    state = load_state(IMAGE_ENCODER)
    # Older files hold the patches' numbers, 0, 1, 2 and so on; the network knows them by itself.
    state = {key: each for key, each in state.items() if not key.endswith("position_ids")}
    net = ready_net(
        CLIPVisionModelWithProjection(CLIPVisionConfig(**CONFIG)),
        state,
        name=IMAGE_ENCODER,
        device=device,
        precision=precision_on(device, dtype),
    )
    return ClipToken(net, identity(IMAGE_ENCODER))
