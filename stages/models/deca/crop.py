"""DECA's crop: the square around 68 landmarks, brought to 224 x 224 pixels."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

SIDE = 224
"""Pixels on each side of a crop."""

_TO_HEAD = 1.1  # from the landmarks' box to the head's (DECA, for 68 landmarks)
_MARGIN = 1.25  # from the head's box to the crop


def head_boxes(keypoints: NDArray[np.float32]) -> NDArray[np.float64]:
    """The head's square around landmarks, as DECA guesses it.

    Args:
        keypoints: float32 (T, n, 2), pixels. The extent is summed in float32, and in this
            order, as the reference does: DECA cuts it down to whole pixels afterwards.

    Returns:
        float64 (T, 3): x and y of the centre, and the side.
    """
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    centre = high - (high - low) / np.float64(2)
    extent = high[:, 0] - low[:, 0] + high[:, 1] - low[:, 1]
    side = extent / np.float64(2) * _TO_HEAD
    return np.column_stack([centre, side])


def crop_transforms(boxes: NDArray[np.float64], *, whole: bool) -> NDArray[np.float64]:
    """Similarities that cut heads out.

    The corners of the crop's square come to the centres of the corner pixels.

    Args:
        boxes: (T, 3), as of `head_boxes`.
        whole: Whether the square's side is rounded down to whole pixels, as in DECA. That makes
            a film's crops pulse, by a pixel at the most.

    Returns:
        float64 (T, 3, 3), from pixels of the picture to those of the crop (column vectors).
    """
    side = np.maximum(boxes[:, 2] * _MARGIN, 1)
    if whole:
        side = np.floor(side)
    scale = (SIDE - 1) / side
    transforms = np.zeros((len(boxes), 3, 3))
    transforms[:, 0, 0] = transforms[:, 1, 1] = scale
    transforms[:, :2, 2] = (side[:, None] / 2 - boxes[:, :2]) * scale[:, None]
    transforms[:, 2, 2] = 1
    return transforms


def cut_crop(
    picture: NDArray[np.uint8], tform: NDArray[Any], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Sample a crop bilinearly; what lies outside the picture is black, blended at its edge.

    Args:
        picture: uint8 RGB (H, W, 3).
        tform: (3, 3), of `crop_transforms`.
        out: Where to write it.

    Returns:
        float32 RGB (224, 224, 3), 0..1.
    """
    crop = np.empty((SIDE, SIDE, 3), np.float32) if out is None else out
    _warp(picture, np.linalg.inv(tform.astype(np.float64)), crop)
    return crop


@njit(cache=True, nogil=True)
def _warp(picture: Any, back: Any, crop: Any) -> None:
    # Compiled, and in double as the reference is. OpenCV's float32 positions (1/32 of a pixel
    # before release 5) cost more accuracy than the encoder's own rounding, and it would
    # convert the whole picture to floats.
    height, width = picture.shape[:2]
    for row in range(SIDE):
        for column in range(SIDE):
            x = back[0, 0] * column + back[0, 1] * row + back[0, 2]
            y = back[1, 0] * column + back[1, 1] * row + back[1, 2]
            if not (-1 < x < width and -1 < y < height):
                for colour in range(3):
                    crop[row, column, colour] = 0
                continue
            left, top = int(np.floor(x)), int(np.floor(y))
            fx, fy = x - left, y - top
            # A neighbour outside counts as black: it has no weight, and any place inside.
            x0, wx0 = (left, (1 - fx) / 255) if left >= 0 else (0, 0.0)
            x1, wx1 = (left + 1, fx / 255) if left + 1 < width else (0, 0.0)
            y0, wy0 = (top, 1 - fy) if top >= 0 else (0, 0.0)
            y1, wy1 = (top + 1, fy) if top + 1 < height else (0, 0.0)
            for colour in range(3):
                upper = wx0 * picture[y0, x0, colour] + wx1 * picture[y0, x1, colour]
                lower = wx0 * picture[y1, x0, colour] + wx1 * picture[y1, x1, colour]
                crop[row, column, colour] = wy0 * upper + wy1 * lower
