"""The matting stage: how much each pixel of the normal form belongs to the person."""

from collections.abc import Iterable, Iterator
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
from stages.steadying import steady

_EMPTY = 0.005  # coverage below which a frame shows nobody

_HALF = 128  # of 255


class MattingModel(Protocol):
    """What masks a film."""

    def masks(self, frames: Iterable[np.ndarray], side: int) -> Iterator[np.ndarray]:
        """Masks (side, side) uint8 of frames (H, W, 3), uint8 RGB, in order."""


class MattingNet(Protocol):
    """A net that mattes small pictures of a film.

    Attributes:
        size: Side of the square that it likes to be shown.
    """

    size: int

    def mattes(self, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Alphas (n, n) float32 in 0..1 of pictures (size, size, 3), uint8 RGB, in order."""


class SteadyMasks:
    """Soft masks by a net, steadied over time.

    Args:
        net: Mattes the frames.
        radius: Frames on either side that steady a pixel, and
        stillness: how still it must stand for that (see `stages.steadying.steady`).
    """

    def __init__(self, net: MattingNet, *, radius: int, stillness: float) -> None:
        self._net = net
        self._radius = radius
        self._stillness = stillness

    def masks(self, frames: Iterable[np.ndarray], side: int) -> Iterator[np.ndarray]:
        """See `MattingModel`."""
        shape = (self._net.size, self._net.size)
        # Averaged down: the net alone would take every second pixel, half a pixel off,
        # which flickers more and lies further from the true edge.
        small = (cv2.resize(frame, shape, interpolation=cv2.INTER_AREA) for frame in frames)
        # Kept by `tee`: the pictures that the net has read ahead of its alphas, no more.
        pictures, shown = tee(small)
        looks = zip(pictures, self._net.mattes(shown), strict=True)
        for alpha in steady(looks, self._radius, self._stillness):
            large = cv2.resize(alpha, (side, side), interpolation=cv2.INTER_LINEAR)
            yield cv2.convertScaleAbs(large, alpha=255)


class SelfieTable(ModelTable):
    """The selfie segmentation runs in one way only."""


class U2NetTable(ModelTable):
    """How U^2-Net is run."""

    pace: ClassVar[frozenset[str]] = frozenset({"batch"})

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
        if self.precision == "float16" and self.legacy:
            raise ValueError('precision = "float16" is not what LCVD\'s masks were made in')
        if self.precision == "float16" and self.runtime == "onnx":
            raise ValueError(
                'precision = "float16" needs runtime = "torch": an ONNX file brings its own'
            )
        return self

    def deciding(self) -> dict[str, Any]:
        """LCVD's way has no options."""
        return {"legacy": True} if self.legacy else super().deciding()


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

    selfie: ClassVar[SelfieTable] = SelfieTable()  # no field: it has no keys

    def deciding(self) -> dict[str, Any]:
        """LCVD's masks are not steadied."""
        table, values = self.table(), super().deciding()
        if isinstance(table, U2NetTable) and table.legacy:
            del values["temporal"], values["stillness"]
        return values


def matting_model(config: MattingConfig) -> MattingModel:
    """The configured model, loaded.

    Raises:
        UsageError: A package that it needs is missing.
        WeightsError: Its weights are missing, or are others.
    """
    make, table = _offer(config).load(), config.table()
    if isinstance(table, U2NetTable) and table.legacy:
        masks: MattingModel = make.of_weight(config.model)
        return masks
    if isinstance(table, U2NetTable):
        options = table.model_dump(exclude={"legacy"}) | {"radius": config.temporal}
        net = make.of_weight(config.model, **options)
    else:
        net = make()
    return SteadyMasks(net, radius=config.temporal, stillness=config.stillness)


def _offer(config: MattingConfig) -> Offer:
    net, table = config.model, config.table()
    if not isinstance(table, U2NetTable):
        return Offer("stages.models.selfie:SelfieSegmentation", ("selfie_segmentation",))
    kind = "legacy:LegacyMasks" if table.legacy else "model:U2NetMatting"
    by_onnx = table.runtime == "onnx" and not table.legacy
    return Offer(
        f"stages.models.u2net.{kind}",
        weights=(net if by_onnx else f"{net}_torch",),
        packages=("torch", "safetensors", "onnxruntime"),
        slowest=8.0 if net == "u2net_human_seg" else 2.0,
    )


class Matting(Stage[MattingConfig]):
    """An 8-bit alpha of every frame of the normal form, steady in time, stored losslessly.

    The alpha stays soft; whoever needs a yes or no takes `hard_mask` of it.
    """

    name = "matting"
    needs = ("frame",)
    Config: ClassVar[type[StageConfig]] = MattingConfig

    _model: MattingModel

    def offers(self) -> tuple[Offer, ...]:
        """The configured model."""
        return (_offer(self.config),)

    def setup(self) -> None:
        """Load the model."""
        self._model = matting_model(self.config)

    def process(self, clip: Clip) -> Product:
        """Matte the clip's frames into ``mask.mp4``."""
        portrait, path = clip.portrait, clip.scratch / "mask.mp4"
        size = (portrait.size, portrait.size)
        coverage = []
        # A slower preset would save 2% of the bytes for half as much time again.
        with GreyWriter(path, size=size, fps=portrait.fps, preset="superfast") as writer:
            for mask in self._model.masks(portrait, portrait.size):
                coverage.append(float(mask.mean()) / 255)
                writer.write(mask)
        return Product(_facts(coverage), {path.name: path})


def hard_mask(alpha: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels belong to the person rather than to the ground.

    Args:
        alpha: Any shape, as ``mask.mp4`` holds it.

    Returns:
        The same shape; true from one half on.
    """
    return alpha >= _HALF


def _facts(coverage: list[float]) -> dict[str, Any]:
    empty = sum(share < _EMPTY for share in coverage)
    note = f"the matte is empty in {empty} of {len(coverage)} frames"
    return {
        "coverage": round(float(np.mean(coverage)), 4),
        "empty": empty,
        "notes": [note] if empty else [],
    }
