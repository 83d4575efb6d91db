"""What a quality model says of a clip, and how it is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stages.frames import SourceFrames


@dataclass(frozen=True)
class Verdict:
    """A quality model's opinion of a clip.

    Attributes:
        score: 0 (ruined) to 1 (flawless).
        facts: The numbers behind the score, by name; ``None`` where there is none.
        complaint: What weighs most against the clip, in words.
        looked_at: Indices of the frames seen.
    """

    score: float
    facts: Mapping[str, float | None]
    complaint: str
    looked_at: Sequence[int]


class QualityModel(Protocol):
    """Takes the frames of a clip that it wants to see, and judges them."""

    def __call__(self, source: SourceFrames, clip: str) -> Verdict:
        """Judge a clip.

        Args:
            source: Its frames, whose number and size are known.
            clip: Its content id: the verdict is a function of it and the frames alone.
        """
