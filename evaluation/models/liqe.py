"""LIQE (Zhang et al. 2023): how good a picture looks, by the sentence that CLIP finds fitting.

The form is that of the toolbox IQA-PyTorch (pyiqa), whose `liqe` was fine-tuned on KonIQ: crops of
the picture are compared with "a photo with bad quality" up to "a photo with perfect quality";
logits are averaged over the crops, and the softmax's mean of 1 to 5 is the score.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluation.models.clip import CONTEXT, DEVIATION, MEAN, SIDE, Clip
from stages.models.nets import load_state, one_thread, ready_net

WEIGHT = "liqe_koniq"
"""Name in the weights registry."""

CROPS = 15
"""Of a picture, at most."""

STRIDE = 32
"""Pixels from one place of a crop to the next."""

LEVELS = {"bad": 2103, "poor": 3665, "fair": 2849, "good": 886, "perfect": 1878}
"""What a picture may be, worst first, and CLIP's token of each word."""

_START, _A, _PHOTO, _WITH, _QUALITY, _END = 49406, 320, 1125, 593, 3027, 49407


def prompts() -> Tensor:
    """Tokens of "a photo with ... quality" for each of `LEVELS`: int64 (5, 77)."""
    tokens = torch.zeros(len(LEVELS), CONTEXT, dtype=torch.int64)
    for row, level in zip(tokens, LEVELS.values(), strict=True):
        sentence = [_START, _A, _PHOTO, _WITH, level, _QUALITY, _END]
        row[: len(sentence)] = torch.tensor(sentence)
    return tokens


def crops(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What LIQE looks at: places row by row, from the first on in even steps.

    Args:
        picture: (H, W, 3). One that is smaller than a crop is enlarged, where pyiqa refuses it.

    Returns:
        (n, 224, 224, 3), n up to `CROPS`.
    """
    height, width = picture.shape[:2]
    if min(height, width) < SIDE:
        size = (max(width, SIDE), max(height, SIDE))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
        height, width = picture.shape[:2]
    places = [
        (y, x)
        for y in range(0, height - SIDE + 1, STRIDE)
        for x in range(0, width - SIDE + 1, STRIDE)
    ]
    chosen = places[:: max(1, len(places) // CROPS)][:CROPS]
    return np.stack([picture[y : y + SIDE, x : x + SIDE] for y, x in chosen])


class LiqeNet(nn.Module):
    """CLIP under the key that LIQE's checkpoint has it by."""

    def __init__(self) -> None:
        super().__init__()
        self.clip_model = Clip()


class Liqe:
    """LIQE, ready to score.

    Args:
        clip: Its network, ready to run.
    """

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._device = clip.logit_scale.device
        with one_thread(), torch.inference_mode():
            self._levels = clip.sentences(prompts().to(self._device))

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Scores (n,), 1 (bad) to 5 (perfect), of frames (n, H, W, 3), RGB."""
        return np.array([self._score(crops(frame)) for frame in frames])

    def _score(self, seen: NDArray[np.uint8]) -> float:
        """Of one picture's crops."""
        mean, deviation = (
            torch.tensor(each, device=self._device).view(3, 1, 1) for each in (MEAN, DEVIATION)
        )
        with one_thread(), torch.inference_mode():
            batch = torch.from_numpy(seen).to(self._device).permute(0, 3, 1, 2) / 255
            likeness = self._clip.pictures((batch - mean) / deviation) @ self._levels.T
            logits = (self._clip.logit_scale.exp() * likeness).mean(dim=0)
            shares = logits.double().softmax(dim=0).cpu()
        return float(shares @ torch.arange(1.0, 6.0, dtype=torch.float64))


def load_liqe() -> Liqe:
    """LIQE with the published checkpoint.

    Raises:
        WeightsError: It is missing, or another architecture's.
    """
    # Filled at once: numbers of its own would be drawn for nothing.
    with torch.device("meta"):
        net = LiqeNet()
    net.to_empty(device="cpu")
    return Liqe(ready_net(net, load_state(WEIGHT), name=WEIGHT).clip_model)
