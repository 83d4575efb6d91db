"""How pictures come to FID's Inception: each of its programs has a way of its own.

The ways give other features, and so other distances (Parmar, Zhang, Zhu: "On Aliased Resizing and
Surprising Subtleties in GAN Evaluation", 2022). Numbers are to be compared within one.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from evaluation.models.inception import SIZE, Inception
from stages.models.nets import load_state, one_thread, ready_net

WEIGHT = "inception_fid"
"""The network's name in the weights registry."""

Resizing = Literal["pytorch-fid", "clean-fid", "torch-fidelity"]


def to_input(pictures: Tensor, resizing: Resizing) -> Tensor:
    """What the network takes.

    Args:
        pictures: (N, 3, H, W) uint8 RGB.
        resizing: Whose way.

    Returns:
        (N, 3, 299, 299) float32, about -1..1.
    """
    return _WAYS[resizing](pictures.float())


def _pytorch_fid(pictures: Tensor) -> Tensor:
    """Bilinear, of neighbours alone even where the picture shrinks."""
    resized = interpolate(pictures / 255, (SIZE, SIZE), mode="bilinear", align_corners=False)
    return 2 * resized - 1


def _clean_fid(pictures: Tensor) -> Tensor:
    """Bicubic over all that a pixel covers, as Pillow does it in floating point."""
    resized = interpolate(pictures, (SIZE, SIZE), mode="bicubic", antialias=True)
    return (resized.clamp(0, 255) - 128) / 128


def _torch_fidelity(pictures: Tensor) -> Tensor:
    """Bilinear as in the first TensorFlow: corners, not centres, of pixels lie on each other."""
    for axis in (2, 3):
        pictures = _stretched(pictures, axis)
    return (pictures - 128) / 128


def _stretched(pictures: Tensor, axis: int) -> Tensor:
    length = pictures.shape[axis]
    places = torch.arange(SIZE, dtype=torch.float32, device=pictures.device) * (length / SIZE)
    low = places.floor().long()
    shape = [1] * pictures.ndim
    shape[axis] = SIZE
    share = (places - low).view(shape)
    below = pictures.index_select(axis, low)
    above = pictures.index_select(axis, (low + 1).clamp(max=length - 1))
    return below + (above - below) * share


_WAYS: Mapping[Resizing, Callable[[Tensor], Tensor]] = {
    "pytorch-fid": _pytorch_fid,
    "clean-fid": _clean_fid,
    "torch-fidelity": _torch_fidelity,
}


class PictureFeatures:
    """FID's network on pictures, with the published weights.

    Args:
        resizing: How pictures come to it.

    Raises:
        WeightsError: The weights are not here, or those of another network.
    """

    def __init__(self, resizing: Resizing) -> None:
        self._resizing = resizing
        self._net = ready_net(Inception(), load_state(WEIGHT), name=WEIGHT)
        self._device = next(self._net.parameters()).device

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (n, 2048) of pictures (n, H, W, 3), RGB."""
        shown = torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2)
        with one_thread(), torch.inference_mode():
            found: NDArray[np.float32] = self._net(to_input(shown, self._resizing)).cpu().numpy()
            return found
