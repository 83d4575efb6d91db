"""A rotated rectangle in a picture: cut it out for a net, carry the net's points back.

Coordinates are pixel indices: (0, 0) is the centre of the first pixel. A crop's corner (0, 0)
lies on the rectangle's corner; there is no half-pixel term (MediaPipe's convention).
"""

from dataclasses import dataclass
from math import cos, pi, sin

import cv2
import numpy as np


@dataclass(frozen=True)
class Roi:
    """A region of interest.

    Attributes:
        x: Centre, pixels.
        y: Centre, pixels.
        width: Side along the region's own horizontal, pixels.
        height: Side along its own vertical, pixels.
        angle: Turn of its horizontal from the picture's, radians, clockwise on the screen.
    """

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0

    @classmethod
    def around(cls, points: np.ndarray, *, scale: float, angle: float) -> "Roi":
        """Square region on the upright box of ``points`` (n, 2+), its long side times ``scale``."""
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        (x, y), side = (low + high) / 2, scale * float((high - low).max())
        return cls(float(x), float(y), side, side, angle)

    @classmethod
    def whole(cls, picture: np.ndarray, *, square: bool) -> "Roi":
        """All of a picture; ``square`` extends its short side beyond the picture."""
        height, width = picture.shape[:2]
        side = max(height, width)
        if square:
            return cls(width / 2, height / 2, side, side)
        return cls(width / 2, height / 2, width, height)

    def matrix(self) -> np.ndarray:
        """(2, 3) float64: from crop coordinates in 0..1 to the picture's pixels."""
        c, s = cos(self.angle), sin(self.angle)
        turn = np.array([[c, -s], [s, c]]) * (self.width, self.height)
        return np.column_stack([turn, (self.x, self.y) - turn @ (0.5, 0.5)])

    def crop(
        self, picture: np.ndarray, size: int, *, low: float, high: float, pad: bool = False
    ) -> np.ndarray:
        """Cut the region out for a net, to the last bit as MediaPipe's OpenCV does it.

        Source positions are rounded to 1/32 pixel, values to uint8; only then comes the scale.

        Args:
            picture: (H, W, 3) uint8.
            size: Side of the crop.
            low: What 0 becomes.
            high: What 255 becomes.
            pad: Black beyond the picture, rather than its border's pixels.

        Returns:
            (size, size, 3) float32.
        """
        steps = np.arange(size) / size
        matrix = 32 * self.matrix()
        across, down = matrix[:, :1] * steps, matrix[:, 1:2] * steps + matrix[:, 2:]
        u, v = np.rint(across[:, None, :] + down[:, :, None]).astype(np.int32)
        whole = np.stack([u >> 5, v >> 5], axis=-1).astype(np.int16)
        fraction = ((v & 31) << 5 | (u & 31)).astype(np.uint16)
        border = cv2.BORDER_CONSTANT if pad else cv2.BORDER_REPLICATE
        # With such maps OpenCV interpolates in whole numbers, the same on every machine.
        crop = cv2.remap(picture, whole, fraction, cv2.INTER_LINEAR, borderMode=border)
        return crop * np.float32((high - low) / 255) + np.float32(low)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Carry points of a crop into the picture.

        Args:
            points: (n, 3): x and y in 0..1 of the crop; z in units of its width.

        Returns:
            (n, 3) float64 in pixels.
        """
        matrix = self.matrix()
        xy = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return np.column_stack([xy, points[:, 2] * self.width])


def line_angle(first: np.ndarray, second: np.ndarray) -> float:
    """Angle of the line between two points from the picture's horizontal, in [-pi, pi)."""
    dx, dy = (second - first)[:2]
    angle = float(np.arctan2(dy, dx))
    return angle - 2 * pi if angle >= pi else angle
