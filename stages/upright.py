"""From a decoder's frame to an upright RGB picture with square pixels."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter


@dataclass(frozen=True)
class Orientation:
    """How a picture is turned for showing: transposed first, then flipped.

    Attributes:
        transpose: Rows become columns.
        mirror: Left becomes right.
        flip: Top becomes bottom.
    """

    transpose: bool = False
    mirror: bool = False
    flip: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation":
        """Read a frame's display matrix; turns by other than right angles are rounded.

        The matrix sends pixel (x, y) to (a x + c y, b x + d y), in 16.16 fixed point,
        stored as a, b, u, c, d, v, x, y, w.
        """
        try:
            data: Any = frame.side_data
            a, b, _, c, d, *_ = np.frombuffer(data["DISPLAYMATRIX"], np.int32).tolist()
        except KeyError:
            return cls()
        except ValueError:
            # Another kind of side data that PyAV has no name for hides them all.
            quarter = round(frame.rotation / 90) % 4  # counterclockwise
            a = d = (1, 0, -1, 0)[quarter]
            b, c = (0, -1, 0, 1)[quarter], (0, 1, 0, -1)[quarter]
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def degrees(self) -> int:
        """Clockwise turn, of the picture as it is before mirroring: 0, 90, 180 or 270."""
        if self.transpose:
            return 270 if self.flip else 90
        return 180 if self.flip else 0

    @property
    def mirrored(self) -> bool:
        """Whether the picture is seen as in a mirror, after the turn."""
        return self.transpose ^ self.mirror ^ self.flip

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after the turn."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Turn a picture of shape (H, W, 3)."""
        if self.transpose:
            picture = cv2.transpose(picture)
        if self.mirror or self.flip:
            # OpenCV's code: 0 turns upside down, 1 mirrors, -1 does both.
            picture = cv2.flip(picture, (-1 if self.flip else 1) if self.mirror else 0)
        return picture


class Upright:
    """Converts the frames of one film: colours, square pixels, orientation.

    Any pixel format comes out as 8-bit RGB; alpha is dropped. Colours are converted by
    swscale as all its users do it: the matrix and range that the frame is tagged with,
    BT.601 limited where it is untagged.

    Args:
        width: Width with square pixels, before the turn.
        height: Height with square pixels, before the turn.
        orientation: The turn.
    """

    def __init__(self, width: int, height: int, orientation: Orientation) -> None:
        self.size = orientation.size(width, height)
        self._scaled = (width, height)
        self._orientation = orientation
        # Kept between frames: a fresh one for each would set up swscale's tables anew.
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """RGB picture of shape (H, W, 3), uint8, C-contiguous."""
        width, height = self._scaled
        same = (frame.width, frame.height) == self._scaled
        rgb = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            interpolation=Interpolation.BILINEAR if same else Interpolation.BICUBIC,
            threads=1,
        )
        picture = rgb.to_ndarray()
        if rgb is frame:
            picture = picture.copy()  # or else a caller who draws on it draws on the frame kept
        return np.ascontiguousarray(self._orientation.apply(picture))
