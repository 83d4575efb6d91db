"""The square around a face, in which the model works: cut out, and pasted back without a seam."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.frame import FrameConfig, choose_crop, face_boxes
from stages.frames import Crop, crop_transform, cut_portrait
from stages.portrait import place

FIT_SIZE = 512
"""Side of the pictures in which faces are fitted and matted, as a build does by default."""

_MARGIN = float(FrameConfig.model_fields["margin"].default)
_SOFT = 0.1  # share of the side over which the pasted square fades at its border


@dataclass(frozen=True)
class FaceSquare:
    """A static square of a picture; it may reach outside.

    Attributes:
        crop: x, y, side, side in whole pixels of the picture.
        picture: Width and height of the picture.
    """

    crop: Crop
    picture: tuple[int, int]

    @classmethod
    def around(cls, points: Sequence[NDArray[Any]], picture: tuple[int, int]) -> Self:
        """The square that a build would choose for a face (`stages.frame.choose_crop`).

        Args:
            points: Landmarks (T, V, 2 or 3) in pixels: where the face is, and where it will be.
            picture: Width and height.
        """
        boxes = np.concatenate([face_boxes(each) for each in points])
        return cls(choose_crop("face", boxes, picture, _MARGIN), picture)

    @classmethod
    def whole(cls, side: int) -> Self:
        """All of a picture that is a face's square already."""
        return cls((0, 0, side, side), (side, side))

    @property
    def side(self) -> int:
        """In pixels of the picture."""
        return self.crop[2]

    def cut(self, picture: NDArray[np.uint8], size: int = FIT_SIZE) -> NDArray[np.uint8]:
        """The square's content, (size, size, 3)."""
        return cut_portrait(picture, self.crop, size)

    def place(self, points: NDArray[Any]) -> NDArray[np.float32]:
        """Landmarks (..., 3) of the picture, in pixels of the square cut to `FIT_SIZE`."""
        return place(np.asarray(points, np.float32), crop_transform(self.crop, FIT_SIZE))

    def resize(self, content: NDArray[Any], enlarge: int = cv2.INTER_LINEAR) -> NDArray[Any]:
        """Bring what the square shows, (n, n) or (n, n, 3), to the square's own side."""
        how = cv2.INTER_AREA if len(content) > self.side else enlarge
        return cv2.resize(content, (self.side, self.side), interpolation=how)

    @cached_property
    def border(self) -> NDArray[np.float32]:
        """How much the square's content may show, (side, side): 1, fading to 0 at its border.

        It does not fade where the border is the picture's own, or lies outside.
        """
        x, y, side, _ = self.crop
        width, height = self.picture
        across = _fade(side, x > 0, x + side < width)
        down = _fade(side, y > 0, y + side < height)
        return np.minimum.outer(down, across)

    def paste(
        self, picture: NDArray[np.uint8], content: NDArray[np.uint8], weight: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """The picture with the square's new content in it.

        Args:
            picture: (H, W, 3); left as it is.
            content: (n, n, 3).
            weight: (m, m) in 0..1, how much of it shows; where that is 0, the picture stays
                exactly as it is.
        """
        x, y, side, _ = self.crop
        height, width = picture.shape[:2]
        rows = slice(max(y, 0), min(y + side, height))
        columns = slice(max(x, 0), min(x + side, width))
        inner = slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)
        shown = (self.resize(weight) * self.border)[inner][..., None]
        result = picture.copy()
        old = result[rows, columns].astype(np.float32)
        new = self.resize(content, cv2.INTER_CUBIC)[inner]
        result[rows, columns] = np.rint(old + shown * (new - old)).astype(np.uint8)
        return result


def _fade(side: int, first: bool, last: bool) -> NDArray[np.float32]:
    """1, falling smoothly to 0 at the ends that are told, (side,)."""
    distance = np.arange(side) / max(_SOFT * side, 1)
    rise = np.ones(side)
    for end, wanted in ((distance, first), (distance[::-1], last)):
        if wanted:
            share = end.clip(0, 1)
            rise = np.minimum(rise, share * share * (3 - 2 * share))
    return rise.astype(np.float32)
