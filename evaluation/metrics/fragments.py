"""FasterVQA on frames as they come: fragments are cut at once, and rated at the end."""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import FeaturePass
from stages.models.fastervqa.fragments import SIDE, Plan
from stages.models.fastervqa.model import FasterVQA
from stages.models.fastervqa.variants import VARIANTS, Sampling


class FragmentPass(FeaturePass):
    """Frames on their way through FasterVQA's base variant.

    Args:
        frames: Of the film.
        size: Their side in pixels.
        places: How the places of fragments are drawn.
        model: Rates the fragments.
    """

    def __init__(self, frames: int, size: int, places: Sampling, model: FasterVQA) -> None:
        self._model = model
        self._variant = VARIANTS["base"]
        self._plan = Plan.make(self._variant, frames, (size, size), places)
        self._wanted: defaultdict[int, list[int]] = defaultdict(list)
        for place, index in enumerate(self._plan.frames.tolist()):
            self._wanted[index].append(place)
        side = SIDE * self._variant.grid
        self._mosaics = np.zeros((len(self._plan.frames), side, side, 3), np.uint8)
        self._seen = 0

    def add(self, frames: NDArray[np.uint8]) -> None:
        """See `FeaturePass.add`."""
        for index, frame in enumerate(frames, start=self._seen):
            for place in self._wanted.get(index, ()):
                # A copy, for torch, which enlarges small frames, wants to own what it reads.
                self._mosaics[place] = self._plan.cut(frame.copy(), place)
        self._seen += len(frames)

    def finish(self) -> dict[str, NDArray[Any]]:
        """The score; see `evaluation.metrics.video_quality.FragmentScores`."""
        raw = float(self._model.rate(self._mosaics[None]).mean(dtype=np.float64))
        return {"score": np.array([self._variant.score(raw)]), "raw": np.array([raw])}
