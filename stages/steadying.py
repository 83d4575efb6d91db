"""Steadying mattes over time: a filter that neither lags nor trails."""

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np


def steady(
    looks: Iterable[tuple[np.ndarray, np.ndarray]], radius: int, stillness: float
) -> Iterator[np.ndarray]:
    """Average each alpha with those of the frames around, where the picture stands still.

    Frames before and after count alike, so that nothing lags, and a pixel whose picture
    moves is left alone, so that nothing trails. (A bilateral filter over time whose range
    is taken from the picture: it is the picture's rest that makes a change of alpha a flicker.)

    Args:
        looks: Pairs of picture (H, W, 3) uint8 and its alpha (H, W) float32, in order.
        radius: Frames looked at on either side.
        stillness: Standard deviation, in levels of 255, of the weight's fall with the
            difference of two pictures, averaged over 3x3 pixels.

    Yields:
        The alphas, (H, W) float32, as many as came in.
    """
    falloff = np.exp(-0.5 * (np.arange(256) / stillness) ** 2).astype(np.float32)
    window: deque[_Steadied] = deque()
    for picture, alpha in looks:
        newest = _Steadied(picture, alpha)
        for other in window:
            red, green, blue = map(cv2.absdiff, newest.colours, other.colours)
            moved = cv2.max(cv2.max(red, green), blue)
            weight = cv2.LUT(cv2.blur(moved, (3, 3)), falloff)
            newest.add(other.alpha, weight)
            other.add(newest.alpha, weight)
        window.append(newest)
        if len(window) > radius:
            yield window.popleft().mean()
    for rest in window:
        yield rest.mean()


class _Steadied:
    """A frame in the window: what it showed, and the weighted sum that it is becoming."""

    def __init__(self, picture: np.ndarray, alpha: np.ndarray) -> None:
        self.colours = cv2.split(picture)  # OpenCV is quick on planes only
        self.alpha = alpha
        self._sum = alpha.copy()
        self._weight = np.ones_like(alpha)

    def add(self, alpha: np.ndarray, weight: np.ndarray) -> None:
        cv2.accumulateProduct(weight, alpha, self._sum)
        cv2.accumulate(weight, self._weight)

    def mean(self) -> np.ndarray:
        return self._sum / self._weight
