"""The matting stage: how much each pixel of the normal form belongs to the person."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal, Protocol

import cv2
import numpy as np
from pydantic import Field

from stages.base import Product, Stage, StageConfig
from stages.clip import Clip
from stages.encode import GreyWriter
from stages.models.selfie import SelfieSegmentation

_EMPTY = 0.005  # coverage below which a frame shows nobody


class MattingModel(Protocol):
    """A net that mattes a picture.

    Attributes:
        size: Side of the square that it likes to be shown.
    """

    size: int

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Alpha (n, n) float32 in 0..1 over a picture (H, W, 3), uint8 RGB."""


MATTING_MODELS: dict[str, type[SelfieSegmentation]] = {"selfie": SelfieSegmentation}


class MattingConfig(StageConfig):
    """How the person is cut out."""

    model: Literal["selfie"] = "selfie"
    """The net: ``selfie`` (MediaPipe's selfie segmentation, 256 pixels)."""

    temporal: int = Field(8, ge=0, le=32)
    """Frames on either side that steady a pixel while it shows the same; 0 to leave it."""

    stillness: float = Field(3.0, gt=0, le=64)
    """Difference between frames, in levels of 255, up to which a pixel shows the same."""


class Matting(Stage[MattingConfig]):
    """An 8-bit alpha of every frame of the normal form, steady in time, stored losslessly."""

    name = "matting"
    needs = ("frame",)
    Config: ClassVar[type[StageConfig]] = MattingConfig

    _model: MattingModel

    def weights(self) -> tuple[str, ...]:
        """The file that the configured model loads."""
        return MATTING_MODELS[self.config.model].weights

    def setup(self) -> None:
        """Load the net."""
        self._model = MATTING_MODELS[self.config.model]()

    def process(self, clip: Clip) -> Product:
        """Matte the clip's frames into ``mask.mp4``."""
        size = (clip.portrait.size, clip.portrait.size)
        path = clip.scratch / "mask.mp4"
        coverage = []
        looks = (self._look(frame) for frame in clip.portrait)
        # A slower preset would save 2% of the bytes for half as much time again.
        with GreyWriter(path, size=size, fps=clip.portrait.fps, preset="superfast") as writer:
            for alpha in steady(looks, self.config.temporal, self.config.stillness):
                large = cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR)
                mask = cv2.convertScaleAbs(large, alpha=255)
                coverage.append(float(mask.mean()) / 255)
                writer.write(mask)
        return Product(_facts(coverage), {path.name: path})

    def _look(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Averaged down: the net alone would take every second pixel, half a pixel off,
        # which flickers more and lies further from the true edge.
        side = (self._model.size, self._model.size)
        small = cv2.resize(frame, side, interpolation=cv2.INTER_AREA)
        return small, self._model(small)


def steady(
    looks: Iterable[tuple[np.ndarray, np.ndarray]], radius: int, stillness: float
) -> Iterator[np.ndarray]:
    """Average each alpha with those of the frames around, where the picture stands still.

    Frames before and after count alike, so that nothing lags, and a pixel whose picture
    moves is left alone, so that nothing trails. (A bilateral filter over time whose range
    is taken from the picture: it is the picture's rest that makes a change of alpha a flicker.)

    Args:
        looks: Pairs of picture (H, W, 3) uint8 and its alpha (H, W) float32, in order.
        radius: Frames looked at on either side.
        stillness: Standard deviation, in levels of 255, of the weight's fall with the
            difference of two pictures, averaged over 3x3 pixels.

    Yields:
        The alphas, (H, W) float32, as many as came in.
    """
    falloff = np.exp(-0.5 * (np.arange(256) / stillness) ** 2).astype(np.float32)
    window: deque[_Steadied] = deque()
    for picture, alpha in looks:
        newest = _Steadied(picture, alpha)
        for other in window:
            red, green, blue = map(cv2.absdiff, newest.colours, other.colours)
            moved = cv2.max(cv2.max(red, green), blue)
            weight = cv2.LUT(cv2.blur(moved, (3, 3)), falloff)
            newest.add(other.alpha, weight)
            other.add(newest.alpha, weight)
        window.append(newest)
        if len(window) > radius:
            yield window.popleft().mean()
    for rest in window:
        yield rest.mean()


class _Steadied:
    """A frame in the window: what it showed, and the weighted sum that it is becoming."""

    def __init__(self, picture: np.ndarray, alpha: np.ndarray) -> None:
        self.colours = cv2.split(picture)  # OpenCV is quick on planes only
        self.alpha = alpha
        self._sum = alpha.copy()
        self._weight = np.ones_like(alpha)

    def add(self, alpha: np.ndarray, weight: np.ndarray) -> None:
        cv2.accumulateProduct(weight, alpha, self._sum)
        cv2.accumulate(weight, self._weight)

    def mean(self) -> np.ndarray:
        return self._sum / self._weight


def _facts(coverage: list[float]) -> dict[str, Any]:
    empty = sum(share < _EMPTY for share in coverage)
    note = f"the matte is empty in {empty} of {len(coverage)} frames"
    return {
        "coverage": round(float(np.mean(coverage)), 4),
        "empty": empty,
        "notes": [note] if empty else [],
    }
