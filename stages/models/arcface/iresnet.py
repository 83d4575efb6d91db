"""InsightFace's residual networks, of 18 to 100 layers, in torch."""

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.models.nets import load_state, one_thread, ready_net

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
"""Residual blocks of the four stages, by the number of layers."""

DEPTHS: Mapping[str, int] = {"arcface_r50_torch": 50, "arcface_r100_torch": 100}
"""Layers of the network that a weight of the registry fills."""

SIZE = 112
"""Side of the faces that the network takes, pixels."""

_WIDTHS = (64, 128, 256, 512)
_EMBEDDING = 512


class Block(nn.Module):
    """Two 3x3 convolutions beside a short cut; normalised before, halved in the second."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        # Without one (no entry of the state dict) the short cut is the input itself.
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, width, H / stride, W / stride)."""
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """A residual network for aligned faces; keys as in InsightFace's ``backbone.pth``.

    Args:
        layers: Its depth, one of `BLOCKS`.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.prelu = nn.PReLU(_WIDTHS[0])
        inputs = _WIDTHS[0]
        for number, (width, blocks) in enumerate(zip(_WIDTHS, BLOCKS[layers], strict=True), 1):
            stage = [Block(inputs, width, 2)] + [Block(width, width, 1) for _ in range(1, blocks)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            inputs = width
        self.bn2 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs * (SIZE // 16) ** 2, _EMBEDDING)
        self.features = nn.BatchNorm1d(_EMBEDDING)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeddings, not of unit length.

        Args:
            faces: (N, 3, 112, 112), RGB in -1..1.

        Returns:
            (N, 512).
        """
        x = self.prelu(self.bn1(self.conv1(faces)))
        for number in range(1, len(_WIDTHS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


class TorchArcFace:
    """The network on torch.

    Args:
        weight: One of `DEPTHS`.

    Raises:
        WeightsError: The weight is not here, or is another network's.
    """

    def __init__(self, weight: str) -> None:
        self._net = ready_net(IResNet(DEPTHS[weight]), load_state(weight), name=weight)

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (N, 512) of aligned faces (N, 112, 112, 3), RGB."""
        with one_thread(), torch.inference_mode():
            batch = torch.from_numpy(faces).to(self._net.fc.weight.device)
            batch = batch.permute(0, 3, 1, 2).float() / 127.5 - 1
            return cast("NDArray[np.float32]", self._net(batch).cpu().numpy())
