"""Networks that nobody trained: stand-ins where a pretrained one is missing.

Features of a random convolutional network still follow what pictures look like: Zhang et al.
(2018) found them far above chance at telling which of two pictures looks nearer to a third, and
Naeem et al. (2020) compare sets of pictures in a random embedding, of 64 numbers among others, so
as not to depend on ImageNet.

Weights are signs, bits of the counter-based generator Philox keyed by a layer's name: the same on
every machine and under any version of NumPy. Times ``sqrt(2 / inputs)`` (He et al. 2015) they
carry a signal's scale through the rectifiers.
"""

import zlib
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from evaluation.models.codes import code_of, encode
from stages.models.nets import N, one_thread, ready_net

EMBEDDING = 64
"""Numbers of a random embedding: few, so that a few hundred frames already fill its covariance."""

GAIN = 50.0
"""What embeddings are multiplied by, so that their Fréchet distances are of about FID's size."""

_PERCEPTUAL = (16, 32, 64, 128, 128)
_PICTURE = (16, 32, 64, 64, EMBEDDING)
_CLIP = (16, 32, 64, EMBEDDING)


class RandomNet(nn.Module):
    """Convolutions of 3 pixels a side, a rectifier after each, means of two between them.

    The first takes every other position, as the first of AlexNet does every fourth.

    Args:
        name: Enters the key of each layer's weights.
        widths: Channels of each layer.
        dimensions: 2 for pictures, 3 for clips.
    """

    def __init__(self, name: str, widths: tuple[int, ...], dimensions: int = 2) -> None:
        super().__init__()
        self._convolve = functional.conv2d if dimensions == 2 else functional.conv3d
        self._halve = functional.avg_pool2d if dimensions == 2 else functional.avg_pool3d
        for number, (inputs, width) in enumerate(zip((3, *widths), widths, strict=False)):
            shape = (width, inputs, *[3] * dimensions)
            weight = random_signs(f"{name}.{number}", shape) * (2 / np.prod(shape[1:])) ** 0.5
            self.register_buffer(f"weight{number}", torch.from_numpy(weight.astype(np.float32)))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Features after each layer.

        Args:
            pictures: (N, 3, H, W) or (N, 3, T, H, W), in -1..1.

        Returns:
            One (N, width, ...) a layer, each of half the size of the one before.
        """
        x = pictures
        found: list[Tensor] = []
        for weight in self.buffers():
            x = self._halve(x, 2) if found else x
            stride = 1 if found else 2
            x = functional.relu(self._convolve(x, weight, stride=stride, padding=1))
            found.append(x)
        return found


class RandomPerceptual(nn.Module):
    """Codes whose squared distance tells how different two pictures look: 0..1.

    That is one minus the cosine of the features, averaged over positions and depths: LPIPS's
    formula without its heads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = RandomNet("perceptual", _PERCEPTUAL)

    def forward(self, pictures: Tensor) -> Tensor:
        """Codes (N, D) of pictures (N, 3, H, W), in -1..1."""
        layers = self.net(pictures)
        return code_of([functional.normalize(x, dim=1) for x in layers]) / (2 * len(layers)) ** 0.5


class RandomCoder:
    """Random perceptual codes of frames, as `evaluation.models.lpips.LpipsCoder` gives LPIPS's."""

    def __init__(self) -> None:
        self._net = _ready(RandomPerceptual())

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Codes (n, D) of frames (n, H, W, 3), RGB."""
        return encode(self._net, frames)


class RandomPictures:
    """Random embeddings of single frames."""

    def __init__(self) -> None:
        self._net = _ready(RandomNet("picture", _PICTURE))

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, 64) of frames (n, H, W, 3), RGB."""
        return _means(self._net, frames.transpose(0, 3, 1, 2))


class RandomClips:
    """Random embeddings of short clips."""

    def __init__(self) -> None:
        self._net = _ready(RandomNet("clip", _CLIP, dimensions=3))

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, 64) of clips (n, T, H, W, 3), RGB, of 16 frames or more."""
        return _means(self._net, clips.transpose(0, 4, 1, 2, 3))


def random_signs(name: str, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Signs -1 and 1 that a name decides, of the shape that is asked for."""
    count = int(np.prod(shape))
    words = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(-(-count // 64))
    # Little-endian, so that the order of the bits does not depend on the processor.
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")[:count]
    return (2 * bits.astype(np.int8) - 1).reshape(shape)


def _ready(net: N) -> N:
    """A network where it shall run, its arithmetic as exact there as that of any other."""
    return ready_net(net, net.state_dict(), name="a random network")


def _means(net: RandomNet, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Means of the last layer's features over all positions, times `GAIN`."""
    device = next(net.buffers()).device
    with one_thread(), torch.inference_mode():
        pictures = torch.from_numpy(np.ascontiguousarray(batch)).to(device).float() / 127.5 - 1
        means = GAIN * net(pictures)[-1].flatten(2).mean(2)
        return cast("NDArray[np.float32]", means.cpu().numpy())
