"""What FasterVQA sees of a clip: small squares of some frames, in their own resolution.

Time is divided into segments, each frame into a grid; of each segment four frames, of each
cell of the grid a square of 32x32 pixels are taken, at places drawn at random, and the
squares are put together to one small picture (Wu et al. 2023, spatial-temporal grid
mini-cube sampling). The published code draws anew at every run, so that its scores vary;
here every draw has a seed, see `stages.models.fastervqa.variants.Sampling`.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from stages.frames import SourceFrames
from stages.models.fastervqa.variants import RUN, Sampling, Variant

SIDE = 32
"""Of a fragment, in pixels."""

STEP = 2
"""From one frame of a segment that is looked at to the next."""

ALIGNED = 8
"""Frames, of those looked at, whose fragments lie at the same places."""

Draw = Callable[[int, tuple[int, ...]], NDArray[np.int64]]
"""Integers of a shape, each from 0 up to a limit that is excluded."""


@dataclass(frozen=True)
class Plan:
    """Where the fragments of a clip are cut.

    Attributes:
        frames: (T,) indices, in the order that the network sees them in.
        corners: (2, grid, grid, T / 8) first row and first column of the fragments: by the
            cell's row, its column, and group of aligned frames.
    """

    frames: NDArray[np.int64]
    corners: NDArray[np.int64]

    @classmethod
    def make(
        cls,
        variant: Variant,
        frames: int,
        size: tuple[int, int],
        sampling: Sampling = "clip",
        clip: str = "",
        number: int = 0,
    ) -> Self:
        """Draw a plan.

        Args:
            variant: Number of segments, size of the grid.
            frames: Of the clip.
            size: Width and height of the clip, in pixels.
            sampling: How.
            clip: The clip's content id.
            number: Of the draw; others are independent of it.
        """
        time, space = _dice(sampling, clip, number)
        if sampling == "centre":
            indices = centred_frames(frames, variant.frames)
        else:
            indices = segment_frames(frames, variant.segments, time)
        return cls(indices, fragment_corners(size, variant.grid, len(indices) // ALIGNED, space))

    def cut(self, frame: np.ndarray, place: int) -> np.ndarray:
        """The fragments of one frame, put together.

        Args:
            frame: (H, W, 3) uint8 RGB.
            place: Its place in ``frames``.

        Returns:
            (32 grid, 32 grid, 3) uint8.
        """
        grid = self.corners.shape[1]
        frame = enlarged(frame, SIDE * grid)
        mosaic = np.empty((SIDE * grid, SIDE * grid, 3), np.uint8)
        rows, columns = self.corners[..., place // ALIGNED]
        for i, j in np.ndindex(grid, grid):
            y, x = rows[i, j], columns[i, j]
            fragment = frame[y : y + SIDE, x : x + SIDE]
            mosaic[SIDE * i : SIDE * (i + 1), SIDE * j : SIDE * (j + 1)] = fragment
        return mosaic


def gather(source: SourceFrames, plans: Sequence[Plan]) -> NDArray[np.uint8]:
    """Cut the fragments of several plans in one pass, one frame in memory at a time.

    Args:
        source: The clip.
        plans: Of one grid and one number of frames.

    Returns:
        (plans, T, S, S, 3) uint8.
    """
    wanted: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, plan in enumerate(plans):
        for place, index in enumerate(plan.frames.tolist()):
            wanted[index].append((number, place))
    side = SIDE * plans[0].corners.shape[1]
    clips = np.empty((len(plans), len(plans[0].frames), side, side, 3), np.uint8)
    for index, frame in source.pick(wanted):
        for number, place in wanted[index]:
            clips[number, place] = plans[number].cut(frame, place)
    return clips


def _dice(sampling: Sampling, clip: str, number: int) -> tuple[Draw, Draw]:
    """What draws frames, and what draws pixels."""
    seed: NDArray[np.uint32] | int = number
    if sampling == "clip":
        seed = np.frombuffer(sha256(f"{clip}/{number}".encode()).digest(), "<u4")
    # The published code's generator, whose stream NumPy keeps for good.
    random = np.random.RandomState(seed)

    def by_numpy(high: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        return random.randint(0, high, shape)

    if sampling == "clip":
        return by_numpy, by_numpy
    generator = torch.Generator().manual_seed(number)

    def by_torch(high: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        return torch.randint(high, shape, generator=generator).numpy()

    return by_numpy, by_torch


def segment_frames(frames: int, segments: int, draw: Draw) -> NDArray[np.int64]:
    """Four frames of each segment, two apart, from a drawn start; a short clip repeats.

    The published limits are kept: the last start of a segment is never drawn, nor the very
    last frames, if the length is no multiple of the segments.
    """
    length = frames // segments
    starts = length * np.arange(segments)
    if length > RUN * STEP:
        starts = starts + draw(length - RUN * STEP, (segments,))
    return np.asarray((starts[:, None] + STEP * np.arange(RUN)).ravel() % frames)


def centred_frames(frames: int, count: int) -> NDArray[np.int64]:
    """So many consecutive frames in the middle of a clip; a short clip repeats."""
    start = max(frames - count + 1, 0) // 2
    return np.asarray((start + np.arange(count)) % frames)


def fragment_corners(
    size: tuple[int, int], grid: int, groups: int, draw: Draw
) -> NDArray[np.int64]:
    """First row and column of every fragment: (2, grid, grid, groups).

    Args:
        size: Width and height of the clip in pixels; also where its frames are enlarged, of
            which only the upper left is then seen. So does the reference. (A side below
            32, where the reference fails, counts as 32.)
        grid: Cells in each direction.
        groups: Of aligned frames.
        draw: Draws where in its cell each fragment lies: rows first.
    """
    corners = np.zeros((2, grid, grid, groups), np.int64)
    for axis, length in enumerate(reversed(size)):
        cell = length // grid
        first = np.minimum(cell * np.arange(grid), max(length - SIDE, 0))
        corners[axis] += first.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        if cell > SIDE:
            corners[axis] += draw(cell - SIDE, (grid, grid, groups))
    return corners


def enlarged(frame: np.ndarray, side: int) -> np.ndarray:
    """A frame with a shorter side of ``side`` pixels or more: bilinear, rounded down.

    The shorter side may come out one pixel below: its new length is rounded down as well, and
    the factor is 1 / (short / side), whose last digit differs from side / short. So the
    reference has it.
    """
    short = min(frame.shape[:2])
    if short >= side:
        return frame
    picture = torch.from_numpy(frame).permute(2, 0, 1)[None] / 255
    picture = interpolate(picture, scale_factor=1 / (short / side), mode="bilinear")
    return (picture * 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()
