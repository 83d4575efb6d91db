"""DECA's coarse encoder: a picture of a face to its 236 numbers, in one pass."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from timm.models.resnet import resnet50
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.models.deca.coefficients import CODE
from stages.models.nets import Precision, ready_net

FEATURES = 2048
_HIDDEN = 1024


class ResnetEncoder(nn.Module):
    """ResNet-50 (He et al. 2016; stride in the 3x3 convolution) and two linear layers.

    Keys are those of entry ``E_flame`` of ``deca_model.tar``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = resnet50(num_classes=0)
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, CODE)
        )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Code vectors (B, 236) of pictures (B, 3, 224, 224): RGB, 0..1, not normalised."""
        features = self.encoder(pictures).to(self.layers[0].weight.dtype)
        codes: torch.Tensor = self.layers(features)
        return codes


def fold_batch_norms(net: nn.Module) -> None:
    """Merge every batch norm into the convolution before it, in place.

    Inference only: what a batch norm does is linear then, so that results differ by rounding
    alone, and its pass over memory is saved.

    Args:
        net: In eval mode, its modules registered in the order in which they run.
    """
    for module in list(net.modules()):
        for (name, convolution), (next_name, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, next_name, nn.Identity())


def ready_encoder(
    state: Mapping[str, torch.Tensor], *, device: torch.device, precision: Precision = "float32"
) -> ResnetEncoder:
    """An encoder ready for inference, its batch norms folded.

    Args:
        state: Its weights.
        device: Where it shall run.
        precision: Of the convolutions, and so of the pictures that it takes. The linear layers
            stay in float32: half of it would round the camera's scale, 8 or so, to 1/128.

    Raises:
        WeightsError: The weights are those of another architecture.
    """
    encoder = ready_net(ResnetEncoder(), state, name="deca", device=torch.device("cpu"))
    # Before any rounding to half precision.
    fold_batch_norms(encoder)
    # Colours last in memory, as crops are: a tenth faster on processors, more on GPUs.
    encoder.encoder.to(getattr(torch, precision), memory_format=torch.channels_last)
    return encoder.to(device)
