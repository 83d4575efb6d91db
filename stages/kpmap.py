"""Stage `kpmap`: the keypoint map of every frame, drawn exactly as LCVD draws it."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.base import Product, Stage, StageConfig
from stages.clip import Clip
from stages.portrait import portrait_landmarks, write_film

CANVAS = 512
"""Side of the picture that is drawn, before any resizing."""

_THICKNESS = 2
_HALF_SQUARE = 3


class Stroke(NamedTuple):
    """One coloured part of the face.

    Attributes:
        part: What it is, on the subject's own side.
        colour: RGB.
        edges: Pairs of landmarks in draw order (where strokes cross, the later one shows).
    """

    part: str
    colour: tuple[int, int, int]
    edges: str


# The order within eyes and brows is that of an unordered set in LCVD's MediaPipe; it shows
# where two-pixel lines of one part meet another part's, so it is kept as it came out.
STROKES = (
    Stroke(
        "left eye",
        (180, 200, 10),
        "374-380 390-373 249-390 385-384 373-374 263-466 387-386 381-382 "
        "384-398 466-388 386-385 388-387 263-249 380-381 398-362 382-362",
    ),
    Stroke(
        "right eye",
        (10, 200, 180),
        "154-155 33-7 246-161 159-158 144-145 173-133 158-157 163-144 "
        "153-154 7-163 161-160 157-173 33-246 160-159 145-153 155-133",
    ),
    Stroke(
        "left brow",
        (180, 220, 10),
        "334-296 276-283 293-334 295-285 296-336 282-295 283-282 300-293",
    ),
    Stroke("right brow", (10, 220, 180), "46-53 66-107 52-65 53-52 63-105 70-63 65-55 105-66"),
    Stroke("outer lip, bottom right", (10, 180, 20), "61-146 146-91 91-181 181-84 84-17"),
    Stroke("outer lip, bottom left", (20, 10, 180), "17-314 314-405 405-321 321-375 375-291"),
    Stroke("inner lip, bottom right", (100, 100, 30), "78-95 95-88 88-178 178-87 87-14"),
    Stroke("inner lip, bottom left", (100, 150, 50), "14-317 317-402 402-318 318-324 324-308"),
    Stroke("outer lip, top right", (20, 80, 100), "61-185 185-40 40-39 39-37 37-0"),
    Stroke("outer lip, top left", (80, 100, 20), "0-267 267-269 269-270 270-409 409-291"),
    Stroke("inner lip, top right", (120, 100, 200), "78-191 191-80 80-81 81-82 82-13"),
    Stroke("inner lip, top left", (150, 120, 100), "13-312 312-311 311-310 310-415 415-308"),
)

SQUARES = {
    468: (10, 200, 250),  # right pupil
    473: (250, 200, 10),  # left pupil
    4: (200, 200, 200),  # tip of the nose
}
"""Landmark to the colour of the square drawn around it, after all lines."""


def _parse(edges: str) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in (edge.split("-") for edge in edges.split())]


_LINES = [(edge, stroke.colour) for stroke in STROKES for edge in _parse(stroke.edges)]


def draw_keypoints(points: NDArray[Any], size: int = CANVAS) -> NDArray[np.uint8]:
    """Draw one face's landmarks as LCVD's dataset build does.

    Lines are two pixels wide and not anti-aliased; one with an end outside the picture is
    left out, and so is a square whose landmark is.

    Args:
        points: (478, 2 or more), x and y normalised: 0 and 1 are the picture's edges.
        size: Side of the picture; drawn at `CANVAS` and resized from there.

    Returns:
        uint8 RGB (size, size, 3).
    """
    canvas = np.zeros((CANVAS, CANVAS, 3), np.uint8)
    xy = points[:, :2].astype(np.float32)
    pixels = np.floor(xy.clip(0, 1) * np.float32(CANVAS)).clip(max=CANVAS - 1).astype(int)
    inside = np.flatnonzero(((xy >= 0) & (xy <= 1)).all(axis=1))
    places = dict(zip(inside.tolist(), pixels[inside].tolist(), strict=True))
    for (a, b), colour in _LINES:
        if a in places and b in places:
            cv2.line(canvas, places[a], places[b], colour, _THICKNESS)
    for landmark, colour in SQUARES.items():
        if landmark in places:
            x, y = places[landmark]
            left, top = max(x - _HALF_SQUARE, 0), max(y - _HALF_SQUARE, 0)
            canvas[top : y + _HALF_SQUARE, left : x + _HALF_SQUARE] = colour
    if size == CANVAS:
        return canvas
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


class KpmapConfig(StageConfig):
    """How the keypoint map is written; what it shows is fixed."""

    crf: int = Field(18, ge=0, le=51)
    """Constant rate factor of the film (x264; smaller is better and larger)."""


class Kpmap(Stage[KpmapConfig]):
    """Draws ``kpmap.mp4``, one picture a frame, from the landmarks in the normal form."""

    name = "kpmap"
    needs = ("landmarks", "frame")
    Config = KpmapConfig

    def process(self, clip: Clip) -> Product:
        """Draw a clip."""
        size = clip.portrait.size
        # LCVD's normalised coordinates are MediaPipe's: pixel indices over the picture's side.
        points = portrait_landmarks(clip) / np.float32(size)
        pictures = (draw_keypoints(each, size) for each in points)
        film = write_film(clip, "kpmap.mp4", pictures, crf=self.config.crf)
        return Product({"frames": len(points)}, {"kpmap.mp4": film})
