"""The extractor `ground`: pixels of a film on a grid, and how much each is the portrait's.

Metrics of the ground compare films pixel by pixel, so its pixels are kept: not all of them, but
a regular grid of them, as they are. They are samples, not averages, so that noise and flicker
are measured at full strength, and a film of any size takes 16 kB a frame.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import CaseFeatures, Extractor, FeaturePass
from evaluation.metrics.origins import versions
from stages.matting import Matting, MattingConfig, MattingModel, matting_model
from stages.models.selfie import SelfieSegmentation

GRID = 64
"""Pixels that are kept, in each direction."""

FEWEST = 16
"""Pixels of ground below which nothing is said of it."""

_GROUND = 8  # matte, of 255, up to which a pixel is the ground's


class Ground(Extractor):
    """Sampled pixels, and the matte there by the embedded model, each frame by itself.

    Features of T frames:
        pixels: uint8 (T, 64, 64, 3), RGB.
        matte: uint8 (T, 64, 64), 255 is the portrait.
    """

    name = "ground"

    def __init__(self) -> None:
        self._matting: MattingModel | None = None

    def weights(self) -> tuple[str, ...]:
        """The matting net's."""
        return SelfieSegmentation.weights

    def options(self) -> Mapping[str, Any]:
        """The stage whose model mattes."""
        return {"stages": versions(Matting)}

    def setup(self) -> None:
        """Load the matting net; nothing steadies it over time."""
        self._matting = matting_model(MattingConfig(temporal=0))

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film.

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._matting is None:
            raise RuntimeError("ground: call setup before start")
        return _GroundPass(size, self._matting)

    def close(self) -> None:
        """Let go of the net."""
        self._matting = None


class _GroundPass(FeaturePass):
    """Frames on their way through `Ground`."""

    def __init__(self, size: int, matting: MattingModel) -> None:
        self._matting = matting
        grid = ((np.arange(GRID) + 0.5) * size / GRID).astype(int)
        self._places = np.ix_(grid, grid)
        self._pixels: list[NDArray[np.uint8]] = []
        self._mattes: list[NDArray[np.uint8]] = []

    def add(self, frames: NDArray[np.uint8]) -> None:
        self._pixels += [frame[self._places] for frame in frames]
        self._mattes += self._masks(frames)

    def _masks(self, frames: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        return self._matting.masks(iter(frames), GRID)

    def finish(self) -> dict[str, NDArray[Any]]:
        return {"pixels": np.stack(self._pixels), "matte": np.stack(self._mattes)}


def ground_pixels(
    case: CaseFeatures,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Pixels of a case's output and driving film, (T, 64, 64, 3), and where the ground is.

    A film that was relit has the driving film's ground, whatever else it may show there. In
    animation another portrait moves, so that the ground is what is outside both.

    Returns:
        The pixels of both in levels of 255, and (T, 64, 64).

    Raises:
        ValueError: Nothing was found in one of the films.
    """
    output, driving = case.of("output", Ground.name), case.of("driving", Ground.name)
    ground = driving["matte"] <= _GROUND
    if case.light is None:
        ground &= output["matte"] <= _GROUND
    return output["pixels"].astype(np.float64), driving["pixels"].astype(np.float64), ground


def mean_over(values: NDArray[np.float64], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of values (n, H, W) over the chosen ones, (n,); NaN where they are too few."""
    count = where.sum(axis=(1, 2))
    total = np.where(where, values, 0).sum(axis=(1, 2))
    return np.where(count >= FEWEST, total / np.maximum(count, 1), np.nan)
