"""Masks as LCVD's released code makes them, its defects included.

For those who must match data that it made (github.com/MingtaoGuo/Relightable-Portrait-Animation,
``src/facematting``). What differs from what was meant:

- ImageNet's mean and standard deviation are taken from three columns of pixels, not channels;
- batch normalisation uses the statistics of the frame, not those that were trained;
- the mask is cut at one half at 320 pixels, then enlarged, which leaves grey edges, then grown.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stages.models.nets import one_thread
from stages.models.u2net.model import published
from stages.models.u2net.network import SIZE, U2Net
from stages.models.u2net.pictures import MEAN, STD

_GROWN = np.ones((7, 7), np.uint8)
_TINY = np.finfo(np.float32).tiny  # a map without contrast shows nobody


class LegacyMasks:
    """A mask a frame, by the network in training mode.

    Args:
        net: The network, which is left in that mode.
    """

    def __init__(self, net: U2Net) -> None:
        self._net = net.train()
        self._device = next(net.parameters()).device

    @classmethod
    def of_weight(cls, net: str) -> "LegacyMasks":
        """By ``u2net_human_seg`` (LCVD's) or ``u2netp`` of the registry.

        Raises:
            WeightsError: The torch weight is not here, or no such network.
        """
        return cls(published(net))

    def masks(self, frames: Iterable[NDArray[np.uint8]], side: int) -> Iterator[NDArray[np.uint8]]:
        """Masks of frames, each by itself.

        Args:
            frames: (H, W, 3) uint8 RGB.
            side: Of the masks.

        Yields:
            (side, side) uint8: 255 where the person is, 0 elsewhere, grey on the edge between.
        """
        return (self._mask(frame, side) for frame in frames)

    def _mask(self, frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
        picture = cv2.resize(frame, (SIZE, SIZE)).astype(np.float32) / 255
        picture[:, :3] = (picture[:, :3] - MEAN[:, None]) / STD[:, None]
        shown = torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()).to(self._device)
        # What the network learns from this about the statistics is never read.
        with one_thread(), torch.no_grad():
            fused = self._net(shown)[0][0, 0].cpu().numpy()
        low, high = fused.min(), fused.max()
        person = (fused - low) / max(high - low, _TINY) > 0.5
        mask = cv2.resize(255 * person.astype(np.float32), (side, side))
        return np.rint(cv2.dilate(mask, _GROWN)).astype(np.uint8)
