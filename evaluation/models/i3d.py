"""Inflated Inception (I3D) in torch, whose logits FVD compares.

Carreira and Zisserman, "Quo Vadis, Action Recognition?" (2017), trained on Kinetics-400; keys as
in the checkpoint of its PyTorch port (``i3d_pretrained_400.pt``). As in TensorFlow, padding
covers what a stride leaves over, the odd cell at the end.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stages.models.nets import load_state, one_thread, ready_net

WEIGHT = "i3d"
"""The network's name in the weights registry."""

CLASSES = 400
"""Logits: the numbers of a feature vector."""

SIZE = 224
"""Side of the frames that the network takes, pixels."""

FEWEST = 9
"""Frames that it needs."""

_COUNTER = "num_batches_tracked"

Triple = tuple[int, int, int]


def _same(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Padded with zeros so that each axis becomes ceil(length / stride) long."""
    sides: list[int] = []
    for length, wide, step in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        total = max(wide - (length % step or step), 0)
        sides += [total // 2, total - total // 2]
    return functional.pad(x, sides)


class Unit(nn.Module):
    """Convolution with bias or batch normalisation; ReLU after the latter."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, last: bool = False
    ) -> None:
        super().__init__()
        self._kernel, self._stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=last)
        self.bn = None if last else nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, H, W) to (N, outputs, T', H', W')."""
        x = self.conv3d(_same(x, self._kernel, self._stride))
        return x if self.bn is None else functional.relu(self.bn(x), inplace=True)


class Pool(nn.Module):
    """Maxima; zeros lie beyond the edges, which no feature falls below."""

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self._kernel, self._stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, C, T', H', W')."""
        padded = _same(x, self._kernel, self._stride)
        return functional.max_pool3d(padded, self._kernel, self._stride)


class Mixed(nn.Module):
    """Branches 1x1x1, 3x3x3 twice, and pooled.

    Args:
        inputs: Channels.
        widths: Outputs of the six units: of the first branch, two each of the middle ones, of
            the last.
    """

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = Unit(inputs, widths[0])
        self.b1a = Unit(inputs, widths[1])
        self.b1b = Unit(widths[1], widths[2], 3)
        self.b2a = Unit(inputs, widths[3])
        self.b2b = Unit(widths[3], widths[4], 3)
        self.b3a = Pool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(inputs, widths[5])

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, H, W) to (N, outputs, T, H, W)."""
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))]
        return torch.cat(branches, 1)


class InceptionI3d(nn.Module):
    """The whole network."""

    def __init__(self) -> None:
        super().__init__()
        # First in the checkpoint, though last to run.
        self.logits = Unit(1024, CLASSES, last=True)
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
        self.MaxPool3d_2a_3x3 = Pool((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = Unit(64, 64)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        self.MaxPool3d_3a_3x3 = Pool((1, 3, 3), (1, 2, 2))
        self.Mixed_3b = Mixed(192, (64, 96, 128, 16, 32, 32))
        self.Mixed_3c = Mixed(256, (128, 128, 192, 32, 96, 64))
        self.MaxPool3d_4a_3x3 = Pool((3, 3, 3), (2, 2, 2))
        self.Mixed_4b = Mixed(480, (192, 96, 208, 16, 48, 64))
        self.Mixed_4c = Mixed(512, (160, 112, 224, 24, 64, 64))
        self.Mixed_4d = Mixed(512, (128, 128, 256, 24, 64, 64))
        self.Mixed_4e = Mixed(512, (112, 144, 288, 32, 64, 64))
        self.Mixed_4f = Mixed(528, (256, 160, 320, 32, 128, 128))
        self.MaxPool3d_5a_2x2 = Pool((2, 2, 2), (2, 2, 2))
        self.Mixed_5b = Mixed(832, (256, 160, 320, 32, 128, 128))
        self.Mixed_5c = Mixed(832, (384, 192, 384, 48, 128, 128))

    def forward(self, clips: Tensor) -> Tensor:
        """Logits, averaged over time.

        Args:
            clips: (N, 3, T, 224, 224), RGB in -1..1; T is `FEWEST` or more.

        Returns:
            (N, 400).
        """
        x = clips
        for name, unit in self.named_children():
            if name != "logits":
                x = unit(x)
        x = functional.avg_pool3d(x, (2, 7, 7), 1)
        return self.logits(x).mean((2, 3, 4))


def to_input(clips: Tensor) -> Tensor:
    """Clips (N, T, H, W, 3) uint8 as the network takes them: (N, 3, T, 224, 224) in -1..1.

    Each frame is resized by itself, bilinear, whatever its aspect.
    """
    count, length = clips.shape[:2]
    frames = clips.flatten(0, 1).permute(0, 3, 1, 2).float()
    frames = functional.interpolate(frames, (SIZE, SIZE), mode="bilinear", align_corners=False)
    return (2 * frames / 255 - 1).unflatten(0, (count, length)).transpose(1, 2)


class ClipLogits:
    """The network on clips, with the published weights.

    Raises:
        WeightsError: The weights are not here, or those of another network.
    """

    def __init__(self) -> None:
        net = InceptionI3d()
        # Counters of training steps, which nobody reads, and which older torches did not write.
        counters = {key: value for key, value in net.state_dict().items() if key.endswith(_COUNTER)}
        self._net = ready_net(net, {**counters, **load_state(WEIGHT)}, name=WEIGHT)
        self._device = next(self._net.parameters()).device

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (n, 400) of clips (n, T, H, W, 3), RGB; T is `FEWEST` or more."""
        shown = torch.from_numpy(clips).to(self._device)
        with one_thread(), torch.inference_mode():
            found: NDArray[np.float32] = self._net(to_input(shown)).cpu().numpy()
            return found
