"""The Inception network of FID in torch: the graph that TensorFlow published in December 2015.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2016). It differs from
other Inception-v3s (torchvision's): there are 1008 classes; averages near an edge leave out what
lies beyond; the last block takes a maximum where the one before it takes an average.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 2048
"""Numbers of a feature vector."""

SIZE = 299
"""Side of the pictures that the network takes, pixels."""

CLASSES = 1008

Tap = Literal["64", "192", "768", "2048"]
"""Features by their number, as FID's programs call them."""

_EPS = 1e-3

Kernel = int | tuple[int, int]


class Conv(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if pad else 0
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        return functional.relu(self.bn(self.conv(x)), inplace=True)


def _average(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)


def _halved(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, 2)


class MixedA(nn.Module):
    """Branches 1x1, 5x5, twice 3x3, and pooled, at 35x35."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 64, 1)
        self.branch5x5_1 = Conv(inputs, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5)
        self.branch3x3dbl_1 = Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3)
        self.branch_pool = Conv(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 224 + pooled, H, W)."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_average(x))], 1)


class MixedB(nn.Module):
    """From 35x35 to 17x17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(inputs, 384, 3, 2, pad=False)
        self.branch3x3dbl_1 = Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2, pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 480 + inputs, H', W')."""
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), three, _halved(x)], 1)


class MixedC(nn.Module):
    """7x7 as rows and columns, at 17x17; ``narrow`` channels on the way."""

    def __init__(self, narrow: int) -> None:
        super().__init__()
        row, column = (1, 7), (7, 1)
        self.branch1x1 = Conv(768, 192, 1)
        self.branch7x7_1 = Conv(768, narrow, 1)
        self.branch7x7_2 = Conv(narrow, narrow, row)
        self.branch7x7_3 = Conv(narrow, 192, column)
        self.branch7x7dbl_1 = Conv(768, narrow, 1)
        self.branch7x7dbl_2 = Conv(narrow, narrow, column)
        self.branch7x7dbl_3 = Conv(narrow, narrow, row)
        self.branch7x7dbl_4 = Conv(narrow, narrow, column)
        self.branch7x7dbl_5 = Conv(narrow, 192, row)
        self.branch_pool = Conv(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 768, H, W) to the same."""
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average(x))], 1)


class MixedD(nn.Module):
    """From 17x17 to 8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(768, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, 2, pad=False)
        self.branch7x7x3_1 = Conv(768, 192, 1)
        self.branch7x7x3_2 = Conv(192, 192, (1, 7))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1))
        self.branch7x7x3_4 = Conv(192, 192, 3, 2, pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 768, H, W) to (N, 1280, H', W')."""
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        three = self.branch3x3_2(self.branch3x3_1(x))
        return torch.cat([three, self.branch7x7x3_4(seven), _halved(x)], 1)


class MixedE(nn.Module):
    """Rows beside columns, at 8x8.

    Args:
        inputs: Channels.
        maximum: Whether the pooled branch takes maxima, as the last block does, or averages.
    """

    def __init__(self, inputs: int, *, maximum: bool) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 320, 1)
        self.branch3x3_1 = Conv(inputs, 384, 1)
        self.branch3x3_2a = Conv(384, 384, (1, 3))
        self.branch3x3_2b = Conv(384, 384, (3, 1))
        self.branch3x3dbl_1 = Conv(inputs, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1))
        self.branch_pool = Conv(inputs, 192, 1)
        self._maximum = maximum

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 2048, H, W)."""
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = functional.max_pool2d(x, 3, 1, padding=1) if self._maximum else _average(x)
        branches = [
            self.branch1x1(x),
            self.branch3x3_2a(once),
            self.branch3x3_2b(once),
            self.branch3x3dbl_3a(twice),
            self.branch3x3dbl_3b(twice),
            self.branch_pool(pooled),
        ]
        return torch.cat(branches, 1)


class Inception(nn.Module):
    """FID's network; keys as in pytorch-fid's and torch-fidelity's checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2, pad=False)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, pad=False)
        self.Mixed_5b = MixedA(192, 32)
        self.Mixed_5c = MixedA(256, 64)
        self.Mixed_5d = MixedA(288, 64)
        self.Mixed_6a = MixedB(288)
        self.Mixed_6b = MixedC(128)
        self.Mixed_6c = MixedC(160)
        self.Mixed_6d = MixedC(160)
        self.Mixed_6e = MixedC(192)
        self.Mixed_7a = MixedD()
        self.Mixed_7b = MixedE(1280, maximum=False)
        self.Mixed_7c = MixedE(WIDTH, maximum=True)
        self.fc = nn.Linear(WIDTH, CLASSES)

    def taps(self, pictures: Tensor) -> dict[Tap, Tensor]:
        """Mean features of four depths.

        Args:
            pictures: (N, 3, 299, 299), RGB in -1..1.

        Returns:
            Of each depth (N, its number).
        """
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(pictures)))
        first = _halved(x)
        second = _halved(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(first)))
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(second))))
        third = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        last = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(third)))
        maps: dict[Tap, Tensor] = {"64": first, "192": second, "768": third, "2048": last}
        return {name: depth.mean((2, 3)) for name, depth in maps.items()}

    def forward(self, pictures: Tensor) -> Tensor:
        """What FID compares: (N, 2048) of pictures (N, 3, 299, 299), RGB in -1..1."""
        return self.taps(pictures)["2048"]
