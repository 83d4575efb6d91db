"""What a method's film cost: time and memory, as they were recorded when it was made."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import CaseFeatures, ClipMetric, Extractor, MetricInfo, Role


class _Fact(ClipMetric):
    """A fact of the generation, as a metric that looks at no film."""

    fact: str
    per_unit: float

    def extractors(self) -> Mapping[Role, Extractor]:
        """None."""
        return {}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """The clip's value, (1,); NaN where it was not recorded."""
        return np.array([case.facts.get(self.fact, np.nan) / self.per_unit])


class SecondsPerFrame(_Fact):
    """Wall-clock time."""

    fact, per_unit = "seconds_per_frame", 1.0

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return MetricInfo(
            name="seconds_per_frame",
            title="Time",
            higher_is_better=False,
            unit="s/frame",
            range=(0.0, float("inf")),
            estimator="wall clock",
            grade="standard",
            definition="Wall-clock seconds that the method took for the clip, per frame.",
        )


class PeakMemory(_Fact):
    """Main memory of the method and of its child processes."""

    fact, per_unit = "peak_bytes", float(2**20)

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return MetricInfo(
            name="peak_memory",
            title="Memory",
            higher_is_better=False,
            unit="MiB",
            range=(0.0, float("inf")),
            estimator="the operating system's account",
            grade="standard",
            definition=(
                "The most main memory that the method and its child processes held while it made"
                " the clip, beyond what its process held without it. A GPU's is not in it."
            ),
        )


class PeakGpuMemory(_Fact):
    """Memory of a GPU."""

    fact, per_unit = "peak_gpu_bytes", float(2**20)

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return MetricInfo(
            name="peak_gpu_memory",
            title="GPU memory",
            higher_is_better=False,
            unit="MiB",
            range=(0.0, float("inf")),
            estimator="torch's account",
            grade="standard",
            definition=(
                "The most memory of a GPU that torch held in the method's process while it made"
                " the clip, beyond what it held without the method. What child processes held"
                " there is not known."
            ),
        )
