"""Strips: a few frames of a clip side by side, as one small picture."""

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from stages.frames import SourceFrames


def spread(length: int, number: int) -> list[int]:
    """``number`` frame indices spread evenly over a clip of ``length`` frames (ends left out)."""
    number = min(number, length)
    return [int((i + 0.5) * length / number) for i in range(number)]


def strip(path: Path, *, number: int = 8, height: int = 112) -> np.ndarray:
    """Frames of a video (or picture) side by side.

    Args:
        path: Any file that `stages.frames.SourceFrames` opens.
        number: How many frames.
        height: Of the strip, in pixels.

    Returns:
        RGB uint8 (height, sum of widths, 3), with 2 px between the frames.
    """
    frames = SourceFrames(path, budget=0)
    tiles: list[np.ndarray] = []
    for frame in frames.at(spread(len(frames), number)):
        width = max(1, round(frame.shape[1] * height / frame.shape[0]))
        tiles += [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)]
        tiles += [np.full((height, 2, 3), 255, np.uint8)]
    return np.concatenate(tiles[:-1], axis=1)


def data_url(picture: np.ndarray, *, quality: int = 82) -> str:
    """An RGB uint8 picture as a ``data:`` URL (WebP)."""
    return encode_url(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality], "image/webp")


def encode_url(suffix: str, picture: np.ndarray, options: Sequence[int], mime: str) -> str:
    """An RGB picture, encoded by OpenCV, as a ``data:`` URL."""
    ok, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), list(options))
    if not ok:
        raise RuntimeError(f"OpenCV cannot encode {suffix}")
    return f"data:{mime};base64,{base64.b64encode(data.tobytes()).decode()}"
