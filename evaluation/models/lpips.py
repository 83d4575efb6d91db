"""LPIPS (Zhang et al. 2018): how different two pictures look to a network that knows things.

Its features at five depths are brought to unit length at every position, and their squared
differences are weighted, averaged over the picture and added: a squared Euclidean distance. So a
picture has a *code*, and the LPIPS of two pictures is ``|code(x) - code(y)|^2``.

Version 0.1 of the linear heads, as the package ``lpips`` 0.1.4 ships them.
"""

from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluation.models.codes import code_of, encode
from stages.models.nets import load_state, ready_net

LpipsName = Literal["alex", "vgg"]

WEIGHTS: dict[LpipsName, tuple[str, str]] = {
    "alex": ("alexnet", "lpips_alex_heads"),
    "vgg": ("vgg16", "lpips_vgg_heads"),
}
"""Names, in the registry of weights, of each network's trunk and heads."""

# Mean and deviation that LPIPS takes from pictures in -1..1.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10

# Where features are taken: after all of AlexNet's rectifiers, after the last of VGG's at each of
# five scales.
_TAPS: dict[LpipsName, tuple[int, ...]] = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
_CLASSIFIER = "classifier."


class Lpips(nn.Module):
    """The network; keys are torchvision's (``features.*``) and those of the heads' own file.

    Args:
        name: AlexNet or VGG-16.
    """

    def __init__(self, name: LpipsName) -> None:
        super().__init__()
        layers = _alexnet() if name == "alex" else _vgg16()
        self.features = nn.Sequential(*layers)
        self._taps = _TAPS[name]
        for number, tap in enumerate(self._taps):
            width = cast("nn.Conv2d", layers[tap - 1]).out_channels
            self.add_module(f"lin{number}", _Head(width))
        for constant, values in (("_shift", _SHIFT), ("_scale", _SCALE)):
            self.register_buffer(constant, torch.tensor(values).view(3, 1, 1), persistent=False)

    def layers(self, pictures: Tensor) -> list[Tensor]:
        """Weighted unit features at the five depths.

        Args:
            pictures: (N, 3, H, W), RGB in -1..1, 32 pixels or more.

        Returns:
            Five of (N, C, h, w): the sum of squared differences over C is LPIPS's spatial map of
            that depth.
        """
        x = (pictures - self.get_buffer("_shift")) / self.get_buffer("_scale")
        found: list[Tensor] = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self._taps:
                head = cast("_Head", self.get_submodule(f"lin{len(found)}"))
                unit = x / (x.square().sum(1, keepdim=True).sqrt() + _EPSILON)
                found.append(unit * head.weight.sqrt())
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        """Codes (N, D) of pictures, as for `layers`; their squared distance is the LPIPS."""
        return code_of(self.layers(pictures))


class LpipsCoder:
    """LPIPS codes of frames.

    Args:
        name: Its network.

    Raises:
        WeightsError: The weights are not here, or are another network's.
    """

    def __init__(self, name: LpipsName = "alex") -> None:
        trunk, heads = WEIGHTS[name]
        state = {k: v for k, v in load_state(trunk).items() if not k.startswith(_CLASSIFIER)}
        self._net = ready_net(Lpips(name), state | load_state(heads), name=f"{trunk} with {heads}")

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Codes (n, D) of frames (n, H, W, 3), RGB."""
        return encode(self._net, frames)


class _Head(nn.Module):
    """How much each feature counts; zero or more, or its root would not exist."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # The key is `model.1.weight`: in training, a dropout stands before the convolution.
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(width, 1, 1, bias=False))

    @property
    def weight(self) -> Tensor:
        """(1, C, 1, 1)."""
        return cast("nn.Conv2d", self.model[1]).weight


def _alexnet() -> list[nn.Module]:
    """AlexNet's convolutions ("one weird trick", Krizhevsky 2014), to the last rectifier."""
    shapes = [(3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1)]
    shapes += [(384, 256, 3, 1, 1), (256, 256, 3, 1, 1)]
    layers: list[nn.Module] = []
    for number, shape in enumerate(shapes):
        layers += [nn.Conv2d(*shape), nn.ReLU(inplace=True)]
        if number < 2:
            layers.append(nn.MaxPool2d(3, 2))
    return layers


def _vgg16() -> list[nn.Module]:
    """VGG-16's convolutions (Simonyan and Zisserman 2015), to the last rectifier."""
    layers: list[nn.Module] = []
    inputs = 3
    for width, times in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if layers:
            layers.append(nn.MaxPool2d(2, 2))
        for _ in range(times):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = width
    return layers
