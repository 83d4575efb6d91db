"""Frames in chunks of one size, however they come: so that values do not depend on the feeding."""

from abc import abstractmethod
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import FeaturePass


class ChunkedPass(FeaturePass):
    """A pass that sees its film in chunks of ``chunk`` frames; only the last may be shorter.

    Args:
        chunk: Frames of a chunk.
    """

    def __init__(self, chunk: int) -> None:
        self._chunk = chunk
        self._waiting: list[NDArray[np.uint8]] = []

    def add(self, frames: NDArray[np.uint8]) -> None:
        """See the next frames (n, S, S, 3)."""
        for frame in frames:
            # Copied, for whoever decodes may write the next frames over these.
            self._waiting.append(frame.copy())
            if len(self._waiting) == self._chunk:
                self._flush()

    def finish(self) -> dict[str, NDArray[Any]]:
        """See what is left, and tell what was found."""
        if self._waiting:
            self._flush()
        return self.result()

    @abstractmethod
    def see(self, chunk: NDArray[np.uint8]) -> None:
        """Look at the next chunk of frames."""

    @abstractmethod
    def result(self) -> dict[str, NDArray[Any]]:
        """What was found in all of them."""

    def _flush(self) -> None:
        self.see(np.stack(self._waiting))
        self._waiting.clear()


def resized(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Frames (n, H, W, 3) at ``size`` pixels a side, each the mean of what it covers."""
    if frames.shape[1:3] == (size, size):
        return frames
    small = [cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(small).astype(np.uint8, copy=False)
