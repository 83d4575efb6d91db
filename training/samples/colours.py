"""Pictures in other colours, the same for a whole sample: so a face's colour is read, not known."""

from dataclasses import dataclass
from math import cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""Of RGB: luma, and two colours that turn as the hue does (NTSC, 1953)."""


@dataclass(frozen=True)
class DrawnColours:
    """A change of colours, by three numbers.

    Attributes:
        hue: Turn of the colours around grey, in radians.
        saturation: Factor on how far they are from grey.
        brightness: Factor on all of it.
    """

    hue: float
    saturation: float
    brightness: float

    @classmethod
    def draw(cls, random: np.random.Generator, most: float) -> "DrawnColours":
        """Draw a change.

        Args:
            random: Three numbers are taken of it.
            most: 0 changes nothing; 1 turns the hue anywhere, takes or doubles the saturation, and
                changes the brightness by up to a half of a factor e.
        """
        hue, saturation, brightness = random.uniform(-most, most, 3).tolist()
        return cls(pi * hue, 1 + saturation, float(np.exp(brightness / 2)))

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pictures (n, H, W, 3) in these colours."""
        turn = self.saturation * np.array(
            [[cos(self.hue), -sin(self.hue)], [sin(self.hue), cos(self.hue)]]
        )
        inner = np.eye(3)
        inner[1:, 1:] = turn
        matrix = self.brightness * np.linalg.inv(_YIQ) @ inner @ _YIQ
        changed: NDArray[np.uint8] = np.stack([cv2.transform(each, matrix) for each in pictures])
        return changed
