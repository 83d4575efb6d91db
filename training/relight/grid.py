"""A relit video beside what it was made of: as a film, and as one picture of a few frames."""

from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stages.encode import VideoWriter

PANEL = 320
"""Side of a panel in pixels."""

_GAP = 8
_BAND = 28  # height of the captions
_INK, _PAPER = (228, 228, 228), (22, 22, 24)
_SHEET_ROWS = 5

Picture = NDArray[np.uint8]


class GridWriter:
    """Writes a row of captioned panels for every frame, and a sheet of some rows at the end.

    Use as a context manager.

    Args:
        film: The MP4 file to be made.
        sheet: The JPEG file to be made.
        captions: One a panel, in order.
        fps: Frames a second.
        frames: How many there will be.
    """

    def __init__(
        self, film: Path, sheet: Path, captions: tuple[str, ...], *, fps: Fraction, frames: int
    ) -> None:
        width = len(captions) * (PANEL + _GAP) + _GAP
        self._head = _captions(captions, width)
        self._sheet = sheet
        self._fps = fps
        self._wanted = set(_spread(frames))
        self._rows: list[Picture] = []
        self._count = 0
        size = (width, _BAND + PANEL + _GAP)
        self._film = VideoWriter(film, size=size, fps=fps, crf=20)

    def write(self, *panels: Picture) -> None:
        """Append a frame: square pictures (n, n, 3) in the captions' order."""
        row = np.full((PANEL + _GAP, self._head.shape[1], 3), _PAPER, np.uint8)
        for place, picture in enumerate(panels):
            left = _GAP + place * (PANEL + _GAP)
            row[:PANEL, left : left + PANEL] = _panel(picture)
        self._film.write(np.concatenate([self._head, row]))
        if self._count in self._wanted:
            seconds = float(self._count / self._fps)
            self._rows.append(_stamped(row, f"{seconds:.2f} s"))
        self._count += 1

    def __enter__(self) -> Self:
        self._film.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._film.__exit__(kind, error, trace)
        if kind is None:
            sheet = np.concatenate([self._head, *self._rows])
            Image.fromarray(sheet).save(self._sheet, format="JPEG", quality=90)


def _spread(frames: int) -> list[int]:
    """The first frame, the last, and some evenly between them."""
    return np.linspace(0, frames - 1, min(frames, _SHEET_ROWS)).round().astype(int).tolist()


def _panel(picture: Picture) -> Picture:
    kind = cv2.INTER_AREA if len(picture) > PANEL else cv2.INTER_CUBIC
    return cv2.resize(picture, (PANEL, PANEL), interpolation=kind).astype(np.uint8)


def _captions(captions: tuple[str, ...], width: int) -> Picture:
    band = Image.new("RGB", (width, _BAND), _PAPER)
    pen = ImageDraw.Draw(band)
    for place, caption in enumerate(captions):
        middle = _GAP + place * (PANEL + _GAP) + PANEL // 2
        pen.text((middle, _BAND // 2), caption, fill=_INK, font=_font(15), anchor="mm")
    return np.array(band)


def _stamped(row: Picture, words: str) -> Picture:
    """A row with its time in the corner of the first panel."""
    image = Image.fromarray(row)
    pen = ImageDraw.Draw(image)
    place = (_GAP + 8, PANEL - 8)
    pen.text(
        place, words, fill=_INK, font=_font(13), anchor="ls", stroke_width=1, stroke_fill=_PAPER
    )
    return np.array(image)


@cache
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
