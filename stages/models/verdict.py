"""What a quality model says of a clip, and how it is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Verdict:
    """A quality model's opinion of a clip.

    Attributes:
        score: 0 (ruined) to 1 (flawless).
        facts: The numbers behind the score, by name.
        complaint: What weighs most against the clip, in words.
    """

    score: float
    facts: Mapping[str, float]
    complaint: str


class QualityModel(Protocol):
    """Chooses the frames that it wants to see, then judges them."""

    def indices(self, frames: int) -> list[int]:
        """Which frames of a clip of so many to show; ascending, and a function of that alone."""

    def __call__(self, frames: Sequence[np.ndarray]) -> Verdict:
        """Judge the clip by the chosen frames, each (H, W, 3) uint8 RGB."""
