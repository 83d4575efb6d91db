"""U^2-Net in torch, with the names and the numbers of the published checkpoints.

Qin, Zhang, Huang, Dehghan, Zaiane, Jagersand: "U^2-Net: Going deeper with nested U-structure
for salient object detection", Pattern Recognition 106, 2020. A U-Net whose every block is a
U-Net itself: the residual U-block (RSU).
"""

from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from torch import Tensor, nn

SIZE = 320
"""Side of the square at which the published nets were trained."""


class ConvUnit(nn.Module):
    """3x3 convolution of the input's size, batch normalisation, ReLU ("REBNCONV").

    Args:
        channels: Of the input and of the output.
        dilation: Of the kernel.
    """

    def __init__(self, channels: tuple[int, int], dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(*channels, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(channels[1])

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H, W)."""
        return F.relu(self.bn_s1(self.conv_s1(x)))


class ResidualUBlock(nn.Module):
    """A small U-Net that is added to its input (paper, section 3.1 and figure 2).

    Args:
        depth: Convolutions on the way down, the dilated bottom included ("RSU-L").
        channels: Of the input, of the inside, and of the output.
        pooled: Halve the picture from level to level. Without ("RSU-4F", for pictures that
            are small already), the dilation doubles instead.
    """

    def __init__(self, depth: int, channels: tuple[int, int, int], *, pooled: bool = True) -> None:
        super().__init__()
        self._depth, self._pooled = depth, pooled
        inside, middle, outside = channels
        dilations = [1] * (depth - 1) + [2] if pooled else [2**level for level in range(depth)]
        self.rebnconvin = ConvUnit((inside, outside))
        for level, dilation in enumerate(dilations, start=1):
            enters = outside if level == 1 else middle
            self.add_module(f"rebnconv{level}", ConvUnit((enters, middle), dilation))
        for level in range(depth - 1, 0, -1):
            leaves = outside if level == 1 else middle
            unit = ConvUnit((2 * middle, leaves), dilations[level - 1])
            self.add_module(f"rebnconv{level}d", unit)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inside, H, W) to (N, outside, H, W)."""
        whole = self.rebnconvin(x)
        levels = [self.get_submodule("rebnconv1")(whole)]
        for level in range(2, self._depth + 1):
            # The bottom looks further by its dilation, at the size of the level above.
            halve = self._pooled and level < self._depth
            shown = _halved(levels[-1]) if halve else levels[-1]
            levels.append(self.get_submodule(f"rebnconv{level}")(shown))
        deep = levels.pop()
        for level in range(self._depth - 1, 0, -1):
            skip = levels.pop()
            joined = torch.cat([_enlarged(deep, skip), skip], dim=1)
            deep = self.get_submodule(f"rebnconv{level}d")(joined)
        return deep + whole


class U2Net(nn.Module):
    """The whole: six encoder blocks, five decoder blocks, six side maps and their fusion.

    Args:
        down: (inside, middle, outside) channels of the encoder's blocks 1 to 6.
        up: The same of the decoder's blocks 5 to 1.
    """

    def __init__(
        self, down: Iterable[tuple[int, int, int]], up: Iterable[tuple[int, int, int]]
    ) -> None:
        super().__init__()
        outsides = []
        for level, channels in enumerate(down, start=1):
            self.add_module(f"stage{level}", _block(level, channels))
            outsides.append(channels[2])
        for level, channels in zip(range(5, 0, -1), up, strict=True):
            self.add_module(f"stage{level}d", _block(level, channels))
            outsides[level - 1] = channels[2]
        for level, channels_out in enumerate(outsides, start=1):
            self.add_module(f"side{level}", nn.Conv2d(channels_out, 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Seven maps of what stands out.

        Args:
            x: (N, 3, H, W) RGB, normalised (see `stages.models.u2net.pictures`).

        Returns:
            Seven of (N, 1, H, W) in 0..1: the fused map, then the side maps 1 to 6.
        """
        levels = [self.get_submodule("stage1")(x)]
        for level in range(2, 7):
            levels.append(self.get_submodule(f"stage{level}")(_halved(levels[-1])))
        for below, level in pairwise(range(6, 0, -1)):
            deep, skip = levels[below - 1], levels[level - 1]
            joined = torch.cat([_enlarged(deep, skip), skip], dim=1)
            levels[level - 1] = self.get_submodule(f"stage{level}d")(joined)
        sides = [self.get_submodule(f"side{i}")(each) for i, each in enumerate(levels, start=1)]
        sides = [sides[0], *(_enlarged(side, sides[0]) for side in sides[1:])]
        fused = self.outconv(torch.cat(sides, dim=1))
        return [torch.sigmoid(each) for each in (fused, *sides)]


def u2net() -> U2Net:
    """The full net: 44.0 million parameters, 176 MB."""
    down = [(3, 32, 64), (64, 32, 128), (128, 64, 256), (256, 128, 512), *[(512, 256, 512)] * 2]
    up = [(1024, 256, 512), (1024, 128, 256), (512, 64, 128), (256, 32, 64), (128, 16, 64)]
    return U2Net(down, up)


def u2netp() -> U2Net:
    """The small net: 1.13 million parameters, 4.6 MB."""
    return U2Net([(3, 16, 64), *[(64, 16, 64)] * 5], [(128, 16, 64)] * 5)


NETWORKS = {"u2net_human_seg": u2net, "u2netp": u2netp}
"""What makes the network of a weight of the registry (its ``_torch`` twin alike)."""


def _block(level: int, channels: tuple[int, int, int]) -> ResidualUBlock:
    # The deeper a level, the smaller its pictures, and the fewer times they can be halved.
    return ResidualUBlock(max(8 - level, 4), channels, pooled=level < 5)


def _halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
