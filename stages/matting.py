"""The matting stage: how much each pixel of the normal form belongs to the person."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import tee
from typing import Any, ClassVar, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from stages.base import ModelTable, Product, Stage, StageConfig
from stages.clip import Clip
from stages.encode import GreyWriter
from stages.models.offer import Offer

_EMPTY = 0.005  # coverage below which a frame shows nobody

_HALF = 128  # of 255


class MattingModel(Protocol):
    """A net that mattes a film.

    Attributes:
        size: Side of the square that it likes to be shown.
    """

    size: int

    def mattes(self, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Alphas (n, n) float32 in 0..1 of pictures (size, size, 3), uint8 RGB, in order."""


class U2NetTable(ModelTable):
    """How U^2-Net is run."""

    runtime: Literal["onnx", "torch"] = "onnx"
    """What runs the network: ONNX Runtime, on rembg's file, or torch, on the authors'. They agree
    to 1e-4."""

    batch: int = Field(4, ge=1, le=64)
    """Frames shown to the network at once on a GPU; the processor takes one at a time. No result
    depends on it."""

    precision: Literal["float32", "float16"] = "float32"
    """Number format of the network; `float16` needs `runtime = "torch"`, and pays on a GPU."""

    legacy: bool = False
    """Make the masks of LCVD's released code, for those who must match data that it made:
    hard, wrongly normalised, unsteady. Always by torch, one frame at a time."""

    @model_validator(mode="after")
    def _check(self) -> "U2NetTable":
        if self.precision == "float16" and self.runtime == "onnx":
            raise ValueError(
                'precision = "float16" needs runtime = "torch": an ONNX file brings its own'
            )
        return self


class MattingConfig(StageConfig):
    """How the person is cut out."""

    model: Literal["selfie", "u2net_human_seg", "u2netp"] = "selfie"
    """The net: `selfie` (MediaPipe's selfie segmentation, 256 pixels), `u2net_human_seg` (U^2-Net
    as LCVD uses it, 320 pixels), or `u2netp` (the small U^2-Net, for anything that stands
    out)."""

    temporal: int = Field(8, ge=0, le=32)
    """Frames on either side that steady a pixel while it shows the same; 0 to leave it."""

    stillness: float = Field(3.0, gt=0, le=64)
    """Difference between frames, in levels of 255, up to which a pixel shows the same."""

    u2net_human_seg: U2NetTable = U2NetTable()

    u2netp: U2NetTable = U2NetTable()

    @property
    def u2net(self) -> U2NetTable | None:
        """How U^2-Net is run; none if another model is chosen."""
        return None if self.model == "selfie" else getattr(self, self.model)


class Matting(Stage[MattingConfig]):
    """An 8-bit alpha of every frame of the normal form, steady in time, stored losslessly.

    The alpha stays soft; whoever needs a yes or no takes `hard_mask` of it.
    """

    name = "matting"
    needs = ("frame",)
    Config: ClassVar[type[StageConfig]] = MattingConfig

    _model: MattingModel
    _legacy: Callable[[np.ndarray], np.ndarray] | None = None

    def offers(self) -> tuple[Offer, ...]:
        """The configured model."""
        return (self._offer(),)

    def _offer(self) -> Offer:
        net, u2net = self.config.model, self.config.u2net
        if u2net is None:
            return Offer("stages.models.selfie:SelfieSegmentation", ("selfie_segmentation",))
        kind = "legacy:LegacyMasks" if u2net.legacy else "model:U2NetMatting"
        by_onnx = u2net.runtime == "onnx" and not u2net.legacy
        return Offer(
            f"stages.models.u2net.{kind}",
            weights=(net if by_onnx else f"{net}_torch",),
            packages=("torch", "safetensors", "onnxruntime"),
            slowest=8.0 if net == "u2net_human_seg" else 2.0,
        )

    def setup(self) -> None:
        """Load the net."""
        make = self._offer().load()
        net, u2net = self.config.model, self.config.u2net
        if u2net is None:
            self._model = make()
        elif u2net.legacy:
            self._legacy = make.of_weight(net)
        else:
            options = u2net.model_dump(exclude={"legacy"})
            self._model = make.of_weight(net, radius=self.config.temporal, **options)

    def process(self, clip: Clip) -> Product:
        """Matte the clip's frames into ``mask.mp4``."""
        size = (clip.portrait.size, clip.portrait.size)
        path = clip.scratch / "mask.mp4"
        coverage = []
        # A slower preset would save 2% of the bytes for half as much time again.
        with GreyWriter(path, size=size, fps=clip.portrait.fps, preset="superfast") as writer:
            for mask in self._masks(clip.portrait, size):
                coverage.append(float(mask.mean()) / 255)
                writer.write(mask)
        return Product(_facts(coverage), {path.name: path})

    def _masks(self, frames: Iterable[np.ndarray], size: tuple[int, int]) -> Iterator[np.ndarray]:
        if self._legacy is not None:
            yield from map(self._legacy, frames)
            return
        side = (self._model.size, self._model.size)
        # Averaged down: the net alone would take every second pixel, half a pixel off,
        # which flickers more and lies further from the true edge.
        small = (cv2.resize(frame, side, interpolation=cv2.INTER_AREA) for frame in frames)
        # Kept by `tee`: the pictures that the model has read ahead of its alphas, no more.
        pictures, shown = tee(small)
        looks = zip(pictures, self._model.mattes(shown), strict=True)
        for alpha in steady(looks, self.config.temporal, self.config.stillness):
            large = cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR)
            yield cv2.convertScaleAbs(large, alpha=255)


def hard_mask(alpha: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels belong to the person rather than to the ground.

    Args:
        alpha: Any shape, as ``mask.mp4`` holds it.

    Returns:
        The same shape; true from one half on.
    """
    return alpha >= _HALF


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
