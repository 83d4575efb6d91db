"""Strips: a few frames of a clip side by side, as one small picture."""

import base64

import cv2
import numpy as np

from stages.frames import SourceFrames

_GAP = 2  # pixels between frames
_GROUND = 128  # the gap's grey: told from both a white mask and a black map


def spread(length: int, number: int) -> list[int]:
    """``number`` frame indices spread evenly over a clip of ``length`` frames (ends left out)."""
    number = min(number, length)
    return [int((i + 0.5) * length / number) for i in range(number)]


def strip(
    frames: SourceFrames, *, length: int | None = None, number: int = 8, height: int = 112
) -> np.ndarray:
    """Frames of a video (or picture) side by side.

    Args:
        frames: Decoded just as far as the last frame shown.
        length: How many frames there are, where that is known; it costs a decode to count.
        number: How many frames to show.
        height: Of the strip, in pixels.

    Returns:
        RGB uint8 (height, sum of widths, 3), with 2 px between the frames.

    Raises:
        IndexError: There are fewer frames than ``length``.
        SourceError: The file is not there, or may not be read.
        UnusableVideo: There is no usable video in it.
    """
    length = len(frames) if length is None else length
    tiles: list[np.ndarray] = []
    for frame in frames.at(spread(length, number)):
        width = max(1, round(frame.shape[1] * height / frame.shape[0]))
        tiles += [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)]
        tiles += [np.full((height, _GAP, 3), _GROUND, np.uint8)]
    return np.concatenate(tiles[:-1], axis=1)


def data_url(picture: np.ndarray, *, quality: int = 82) -> str:
    """An RGB uint8 picture as a ``data:`` URL (WebP)."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not ok:
        raise RuntimeError(f"OpenCV cannot encode a picture of shape {picture.shape} as WebP")
    return f"data:image/webp;base64,{base64.b64encode(data.tobytes()).decode()}"
