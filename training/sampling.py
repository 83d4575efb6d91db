"""Which frames of which clips are trained on, and in which order: arithmetic, no state.

The order of an epoch is a pure function of (seed, epoch), and what is drawn of a clip is one of
(seed, epoch, clip). So a run resumes in the middle of an epoch by slicing, and what is seen does
not depend on how many ranks and workers share the reading.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """How a clip is sampled in time.

    Attributes:
        frames: How many.
        stride: From each to the next, in frames of the clip; shorter clips have less.
    """

    frames: int = 16
    stride: int = 4

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1:
            raise ValueError(f"{self}: both must be at least 1")

    def fit(self, length: int) -> int:
        """The stride in a clip of ``length`` frames: the wanted one, or the widest that fits.

        Raises:
            ValueError: The clip has fewer frames than the window.
        """
        if length < self.frames:
            raise ValueError(f"a clip of {length} frames cannot give {self.frames}")
        return min(self.stride, (length - 1) // max(self.frames - 1, 1)) or 1


@dataclass(frozen=True)
class Draw:
    """One training sample.

    Attributes:
        clip: The clip's place among those of `training.data.ReleaseClips`.
        reference: A frame from anywhere in the clip: who is seen, and where.
        frames: The window's frames, rising.
    """

    clip: int
    reference: int
    frames: tuple[int, ...]

    @property
    def indices(self) -> tuple[int, ...]:
        """The reference, then the window's frames."""
        return self.reference, *self.frames


def draw(clip: int, length: int, window: Window, *, seed: int, epoch: int) -> Draw:
    """What is taken of a clip in an epoch: its window begins, and its reference lies, anywhere.

    Args:
        clip: The clip's place.
        length: Its frames.
        window: How it is sampled.
        seed: Of the run.
        epoch: Passes over the clips made before.
    """
    random = np.random.default_rng([seed, epoch, clip])
    stride = window.fit(length)
    start = int(random.integers(length - stride * (window.frames - 1)))
    frames = tuple(start + stride * slot for slot in range(window.frames))
    return Draw(clip, int(random.integers(length)), frames)


def schedule(
    lengths: Sequence[int],
    window: Window,
    *,
    seed: int,
    epoch: int,
    rank: int = 0,
    ranks: int = 1,
    done: int = 0,
) -> Iterator[Draw]:
    """One rank's share of an epoch: every clip that is long enough falls to one rank, once.

    A loader's workers are ranks too: worker ``w`` of ``n`` on rank ``r`` is ``r * n + w``.
    Shares differ by one sample at most.

    Args:
        lengths: Frames of every clip.
        window: How they are sampled.
        seed: Of the run.
        epoch: Passes over the clips made before.
        rank: Whose share, 0 to ``ranks - 1``.
        ranks: Among how many it is shared.
        done: Samples of this share that were taken already.
    """
    if not 0 <= rank < ranks:
        raise ValueError(f"rank {rank} of {ranks}: 0 to {ranks - 1} are allowed")
    usable = np.flatnonzero(np.asarray(lengths) >= window.frames)
    order = np.random.default_rng([seed, epoch]).permutation(usable)
    for clip in order[rank::ranks][done:].tolist():
        yield draw(clip, lengths[clip], window, seed=seed, epoch=epoch)
