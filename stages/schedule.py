"""Constant frame rate out of timestamps: which frame is shown at which tick."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

DEFAULT_RATE = Fraction(25)
"""Rate of pictures, and of streams whose container tells none."""

MAX_STILL = 30
"""Seconds for which one frame may stand before the timestamps count as broken."""

MAX_BACK = Fraction(1, 2)
"""Seconds that a timestamp may lie before its predecessor's; beyond, they count as broken."""

JITTER = 0.1
"""Ticks by which the frames of a constant rate may miss theirs: container rounding."""

F = TypeVar("F")


class TimestampError(ValueError):
    """The timestamps leap so far that no frame rate makes sense of them."""


def nominal_rate(average: Fraction | None, base: Fraction | None) -> Fraction:
    """The rate at which a stream is sampled.

    Args:
        average: Frames over duration, as the container tells; shaken by odd last frames.
        base: The rate of whose tick all timestamps are multiples; the true rate where the
            rate is constant, and far too high (90000) where it varies.

    Returns:
        ``base`` where the two agree within 1%, else ``average``, as a fraction whose
        denominator is at most 1001, which keeps 30000/1001 and its kin exact.
    """
    if not average or average <= 0:
        return base if base and 0 < base <= 240 else DEFAULT_RATE
    if base and abs(base - average) <= average / 100:
        return base
    return max(average.limit_denominator(1001), Fraction(1, 1001))


@dataclass
class Schedule(Generic[F]):
    """Lays frames on the ticks of a constant rate, online.

    Tick ``k`` lies ``k / rate`` seconds after the first frame and shows the latest frame
    that is not more than half a tick later than it: half a tick of tolerance, so that
    timestamps rounded to milliseconds fall on their own ticks. A frame is repeated over
    the ticks up to its successor, and dropped if its successor falls on the same tick.

    Attributes:
        rate: Ticks a second.
        ticks: Frames given out so far.
        repeated: How many of them were given out again.
        dropped: Frames never given out.
        jitter: Largest distance between a frame and its tick, in ticks.
    """

    rate: Fraction
    ticks: int = 0
    repeated: int = 0
    dropped: int = 0
    jitter: float = 0.0

    @property
    def even(self) -> bool:
        """Whether the frames were at a constant rate to begin with."""
        return self.repeated == self.dropped == 0 and self.jitter <= JITTER

    def lay(self, frames: Iterable[tuple[F, Fraction]]) -> Iterator[F]:
        """Yield one frame a tick.

        Args:
            frames: Each frame with its time in seconds, in the order of showing.

        Raises:
            TimestampError: A frame would stand for more than :data:`MAX_STILL` seconds,
                or lies more than :data:`MAX_BACK` seconds before its predecessor.
        """
        shown: list[F] = []  # the frame waiting for its successor, if any
        start = Fraction(0)
        for frame, time in frames:
            if not shown:
                start, shown = time, [frame]
                continue
            place = (time - start) * self.rate
            # ceil(x - 1/2): the first tick that is not more than half a tick earlier.
            tick = -int((Fraction(1, 2) - place) // 1)
            self.jitter = max(self.jitter, abs(float(place - tick)))
            if (self.ticks - tick) > MAX_BACK * self.rate:
                raise TimestampError(
                    f"its timestamps go back from {float(self.ticks / self.rate):.2f} s"
                    f" to {float(time - start):.2f} s"
                )
            if tick <= self.ticks:
                self.dropped += 1
                shown = [frame]
                continue
            if tick - self.ticks > MAX_STILL * self.rate:
                raise TimestampError(
                    f"one frame would stand for {float((tick - self.ticks) / self.rate):.0f} s"
                    f" after {float(self.ticks / self.rate):.2f} s"
                )
            yield from self._give(shown[0], tick)
            shown = [frame]
        if shown:
            yield from self._give(shown[0], self.ticks + 1)

    def _give(self, frame: F, until: int) -> Iterator[F]:
        self.repeated += until - self.ticks - 1
        while self.ticks < until:
            self.ticks += 1
            yield frame
