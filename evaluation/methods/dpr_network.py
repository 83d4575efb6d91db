"""DPR's network: hourglasses that find the light in a portrait's luminance, and put another there.

Zhou, Hadap, Sunkavalli and Jacobs (2019), "Deep Single-Image Portrait Relighting". Four hourglasses
lie one inside the other. In the innermost, 27 of the 155 channels hold the light: their mean over
the picture tells nine coefficients of it, and nine others, spread over the picture, take their
place. Names of the layers are those of the published weights, in which every inner hourglass is
listed again within each outer one.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.models.nets import load_state, one_thread, ready_net

COEFFICIENTS = 9
WEIGHT = "dpr_512"

_LIGHT_CHANNELS = 27  # three colours of nine, of which the published network uses one
_FEATURES = 16
_DEEPEST = 8 * _FEATURES + _LIGHT_CHANNELS
_HIDDEN = 128


class Block(nn.Module):
    """A residual block of two 3x3 convolutions.

    Args:
        channels: That go in.
        out: That come out.
        instance: Normalise each picture by itself, without learnt scale, rather than by batch
            statistics.
    """

    def __init__(self, channels: int, out: int, *, instance: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        norm = nn.InstanceNorm2d if instance else nn.BatchNorm2d
        self.bn1, self.bn2 = norm(out), norm(out)
        self.shortcuts = nn.Conv2d(channels, out, 1, bias=False)  # there in all, used in some
        self._widens = channels != out

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, out, h, w)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (self.shortcuts(x) if self._widens else x))


class Lighting(nn.Module):
    """The innermost part: reads the light out of its channels, and writes another there."""

    def __init__(self) -> None:
        super().__init__()
        self.predict_FC1 = nn.Conv2d(_LIGHT_CHANNELS, _HIDDEN, 1, bias=False)
        self.predict_relu1 = nn.PReLU()
        self.predict_FC2 = nn.Conv2d(_HIDDEN, COEFFICIENTS, 1, bias=False)
        self.post_FC1 = nn.Conv2d(COEFFICIENTS, _HIDDEN, 1, bias=False)
        self.post_relu1 = nn.PReLU()
        self.post_FC2 = nn.Conv2d(_HIDDEN, _LIGHT_CHANNELS, 1, bias=False)

    def forward(self, x: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, 155, h, w) under the light (B, 9, 1, 1); and the light that was found."""
        own, rest = x[:, :_LIGHT_CHANNELS], x[:, _LIGHT_CHANNELS:]
        mean = own.mean(dim=(2, 3), keepdim=True)
        found = self.predict_FC2(self.predict_relu1(self.predict_FC1(mean)))
        new = F.relu(self.post_FC2(self.post_relu1(self.post_FC1(light))))
        return torch.cat([new.expand_as(own), rest], dim=1), found


class Hourglass(nn.Module):
    """Features at half the size around something inner, and past it at full size.

    Args:
        channels: That go in and come out.
        inner: That the inner part works on.
        middle: The inner part.
    """

    def __init__(self, channels: int, inner: int, middle: nn.Module) -> None:
        super().__init__()
        self.upper = Block(channels, channels, instance=True)
        self.low1 = Block(channels, inner, instance=False)
        self.middle = middle
        self.low2 = Block(inner, channels, instance=True)

    def forward(self, x: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, channels, h, w), h and w even; and the light that was found."""
        half = self.low1(F.max_pool2d(x, 2))
        changed, found = self.middle(half, light)
        wide = F.interpolate(self.low2(changed), scale_factor=2, mode="nearest")
        return self.upper(x) + wide, found


class DprNetwork(nn.Module):
    """The network for pictures of 512 pixels; any sides that 16 divides will do."""

    def __init__(self) -> None:
        super().__init__()
        self.pre_conv = nn.Conv2d(1, _FEATURES, 5, padding=2)
        self.pre_bn = nn.BatchNorm2d(_FEATURES)
        self.light = Lighting()
        self.HG0 = Hourglass(4 * _FEATURES, _DEEPEST, self.light)
        self.HG1 = Hourglass(2 * _FEATURES, 4 * _FEATURES, self.HG0)
        self.HG2 = Hourglass(_FEATURES, 2 * _FEATURES, self.HG1)
        self.HG3 = Hourglass(_FEATURES, _FEATURES, self.HG2)
        self.conv_1 = nn.Conv2d(_FEATURES, _FEATURES, 3, padding=1)
        self.bn_1 = nn.BatchNorm2d(_FEATURES)
        self.conv_2 = nn.Conv2d(_FEATURES, _FEATURES, 1)
        self.bn_2 = nn.BatchNorm2d(_FEATURES)
        self.conv_3 = nn.Conv2d(_FEATURES, _FEATURES, 1)
        self.bn_3 = nn.BatchNorm2d(_FEATURES)
        self.output = nn.Conv2d(_FEATURES, 1, 1)

    def forward(self, luminance: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
        """Relight.

        Args:
            luminance: (B, 1, h, w) in 0..1, L of Lab over 100.
            light: (B, 9), the wanted light in DPR's frame (`evaluation.methods.dpr.dpr_light`).

        Returns:
            The new luminance (B, 1, h, w) in 0..1, and the light that was found, (B, 9).
        """
        x = F.relu(self.pre_bn(self.pre_conv(luminance)))
        x, found = self.HG3(x, light[:, :, None, None])
        for conv, norm in (
            (self.conv_1, self.bn_1),
            (self.conv_2, self.bn_2),
            (self.conv_3, self.bn_3),
        ):
            x = F.relu(norm(conv(x)))
        return torch.sigmoid(self.output(x)), found.flatten(1)


class Relighter:
    """The published network, ready to use.

    Args:
        device: Where it shall run; without, the GPU that this process may use, or else the
            processor, on one thread.

    Raises:
        WeightsError: Its weights are not here, or are others.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._net = ready_net(DprNetwork(), load_state(WEIGHT), name=WEIGHT, device=device)
        self._device = self._net.pre_conv.weight.device

    @torch.inference_mode()
    def __call__(
        self, luminance: NDArray[np.float32], light: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """New luminance (h, w) in 0..1 of another, under a light (9,); and the light found."""
        picture = torch.from_numpy(luminance).to(self._device)[None, None]
        wanted = torch.from_numpy(light).to(self._device)[None]
        with one_thread():
            new, found = self._net(picture, wanted)
        return new[0, 0].cpu().numpy(), found[0].cpu().numpy()
