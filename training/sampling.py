"""Which frames of which clips are trained on, and in which order: arithmetic, no state.

A run sees one endless stream of samples, numbered by their position. A position says its clip by
a permutation that follows from (seed, epoch), and everything that is drawn for it follows from
(seed, position, attempt). So a run resumes by starting at another position, and what is seen does
not depend on ranks, workers or micro-batches: these only share the positions among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from infra.errors import UsageError


class Purpose(IntEnum):
    """What random numbers are for: each has its own, so that none disturbs another's."""

    ORDER = 0
    TIME = 1
    CHANGE = 2


def generator(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """Random numbers that are a pure function of a run's seed, their purpose and their place."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *place)))


@dataclass(frozen=True)
class Window:
    """How a clip is sampled in time.

    Attributes:
        frames: How many.
        strides: From each to the next, in frames of the clip: the least and the largest.
    """

    frames: int = 15
    strides: tuple[int, int] = (1, 4)

    def __post_init__(self) -> None:
        if self.frames < 1 or not 1 <= self.strides[0] <= self.strides[1]:
            raise ValueError(f"{self}: frames and 1 <= first stride <= second are needed")

    def fit(self, length: int) -> tuple[int, int]:
        """Least and largest stride in a clip of ``length`` frames: as wanted, as far as they fit.

        Raises:
            ValueError: The clip has fewer frames than the window.
        """
        if length < self.frames:
            raise ValueError(f"a clip of {length} frames cannot give {self.frames}")
        widest = (length - 1) // max(self.frames - 1, 1) or 1
        low, high = self.strides
        return min(low, widest), min(high, widest)


@dataclass(frozen=True)
class Draw:
    """One training sample.

    Attributes:
        position: In the stream.
        attempt: 0, or how many draws for this position turned out damaged before.
        clip: The clip's place among those of `training.data.ReleaseClips`.
        reference: A frame from anywhere in the clip: who is seen, and where.
        frames: The window's frames, rising.
    """

    position: int
    attempt: int
    clip: int
    reference: int
    frames: tuple[int, ...]

    @property
    def indices(self) -> tuple[int, ...]:
        """The reference, then the window's frames."""
        return self.reference, *self.frames


class SampleStream:
    """The samples of a run, by their positions 0, 1, 2, ...

    In every epoch each clip comes once. A clip of fewer frames than the window is left out:
    LCVD repeats its frames, which shows a model people who freeze. In one that is only short
    for the stride, the stride is smaller.

    Args:
        lengths: Frames of every clip.
        window: How they are sampled.
        seed: Of the run.

    Attributes:
        clips: int64, places of the clips that are long enough.

    Raises:
        UsageError: No clip is.
    """

    def __init__(self, lengths: Sequence[int], window: Window, *, seed: int) -> None:
        self.clips: NDArray[np.int64] = np.flatnonzero(np.asarray(lengths) >= window.frames)
        if not len(self.clips):
            raise UsageError(
                f"none of {len(lengths)} clips has the {window.frames} frames of a window; the"
                f" longest has {max(lengths, default=0)}",
                hint="lower data.frames, or train on another release",
            )
        self._lengths = list(lengths)
        self._window = window
        self._seed = seed

    @property
    def epoch(self) -> int:
        """Samples of an epoch."""
        return len(self.clips)

    def clip(self, position: int) -> int:
        """The clip at a position of the stream."""
        epoch, place = divmod(position, self.epoch)
        return int(self.clips[_order(self.epoch, self._seed, epoch)[place]])

    def draw(self, position: int, attempt: int = 0) -> Draw:
        """What is taken at a position: a window that begins, and a reference that lies, anywhere.

        Args:
            position: 0 or more.
            attempt: 0 for the position's own clip; 1, 2, ... for others in its place, any of
                which may come.
        """
        random = generator(self._seed, Purpose.TIME, position, attempt)
        clip = int(self.clips[random.integers(self.epoch)]) if attempt else self.clip(position)
        length, frames = self._lengths[clip], self._window.frames
        low, high = self._window.fit(length)
        stride = int(random.integers(low, high + 1))
        start = int(random.integers(length - stride * (frames - 1)))
        window = tuple(start + stride * slot for slot in range(frames))
        return Draw(position, attempt, clip, int(random.integers(length)), window)


@lru_cache(maxsize=4)
def _order(clips: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return generator(seed, Purpose.ORDER, epoch).permutation(clips)


def share(step: int, *, batch: int, rank: int = 0, ranks: int = 1) -> range:
    """The positions of one rank in one step: a run of ``batch / ranks`` of them.

    The ranks' shares, in order, are the step's positions ``step * batch`` to
    ``(step + 1) * batch - 1``, however many ranks there are.

    Args:
        step: 0 or more.
        batch: Samples of a step, over all ranks.
        rank: Whose, 0 to ``ranks - 1``.
        ranks: Among how many the step is shared.

    Raises:
        UsageError: The batch cannot be shared equally.
    """
    if not 0 <= rank < ranks:
        raise ValueError(f"rank {rank} of {ranks}: 0 to {ranks - 1} are allowed")
    if batch % ranks:
        raise UsageError(
            f"a batch of {batch} cannot be shared equally among {ranks} ranks",
            hint=f"make run.batch a multiple of {ranks}, or train with other than {ranks} ranks",
        )
    size = batch // ranks
    start = step * batch + rank * size
    return range(start, start + size)


def micro_batches(positions: range, size: int) -> list[range]:
    """A rank's share of a step, cut into runs of ``size``.

    Raises:
        UsageError: It cannot be cut so.
    """
    if len(positions) % size:
        raise UsageError(
            f"a rank's {len(positions)} samples a step cannot be cut into micro-batches of {size}",
            hint=f"choose an engine.micro_batch that divides {len(positions)}",
        )
    return [positions[start : start + size] for start in range(0, len(positions), size)]
