"""What networks that compare pictures share: frames in, codes out."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.models.nets import one_thread


def code_of(layers: list[Tensor]) -> Tensor:
    """One vector of features at several depths, each with the same share whatever its size.

    Args:
        layers: Of (N, C, h, w).

    Returns:
        (N, D): its squared distances are means over the positions, added up over the depths.
    """
    return torch.cat([x.flatten(1) / (x.shape[-2] * x.shape[-1]) ** 0.5 for x in layers], 1)


def encode(net: nn.Module, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a network that takes pictures in -1..1 makes of frames (n, H, W, 3), RGB."""
    device = next(net.buffers()).device
    with one_thread(), torch.inference_mode():
        batch = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        return cast("NDArray[np.float32]", net(batch).cpu().numpy())
