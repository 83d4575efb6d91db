"""The published ways to use FasterVQA's checkpoint; nothing here needs torch."""

from dataclasses import dataclass
from math import exp
from typing import Literal

RUN = 4
"""Frames of a segment that are looked at."""

Sampling = Literal["clip", "dataset", "centre"]
"""How the places of the fragments are drawn.

- ``clip``: as in the published evaluation, with a seed made of the clip's content id.
- ``dataset``: the places of the published evaluation on data sets after
  ``np.random.seed(0); torch.manual_seed(0)``, for every clip (1, 2, ... for further draws).
- ``centre``: those of the published demo script after ``torch.manual_seed(0)``: it takes
  consecutive frames in the middle of the clip.
"""

VariantName = Literal["base", "mt", "ms"]
"""FasterVQA, FasterVQA-MT (half the frames), FasterVQA-MS (half the fragments)."""


@dataclass(frozen=True)
class Variant:
    """What the network sees, and what its raw score then means.

    Attributes:
        grid: Fragments of a frame, in each direction.
        segments: Of the clip; each shows `RUN` frames.
        mean: Of the raw scores of the authors' reference videos.
        deviation: Their standard deviation.
    """

    grid: int
    segments: int
    mean: float
    deviation: float

    @property
    def frames(self) -> int:
        """That the network sees."""
        return RUN * self.segments

    def deviations(self, raw: float) -> float:
        """How far a raw score lies above the mean, in standard deviations."""
        return (raw - self.mean) / self.deviation

    def score(self, raw: float) -> float:
        """A raw score brought into 0..1; an average reference video has 0.5."""
        return 1 / (1 + exp(-self.deviations(raw)))


VARIANTS: dict[VariantName, Variant] = {
    "base": Variant(grid=7, segments=8, mean=0.14759505, deviation=0.03613452),
    "mt": Variant(grid=7, segments=4, mean=0.14699507, deviation=0.036453716),
    "ms": Variant(grid=5, segments=8, mean=0.15218826, deviation=0.03230298),
}
"""By name; the constants are those of the published code."""
