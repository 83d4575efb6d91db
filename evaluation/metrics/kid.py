"""KID: how far frames are from real ones, by a kernel: without FID's bias where they are few."""

from evaluation.frechet.kid import kernel_distance
from evaluation.frechet.samples import Samples
from evaluation.metrics.base import MetricInfo, SetValue, Statistics
from evaluation.metrics.fid import INCEPTION, InceptionVectors
from evaluation.metrics.frechet_standard import SampledMetric
from evaluation.metrics.origins import identities

SUBSETS = 100
"""Pairs of subsets that are drawn; torch-fidelity's number."""

SIZE = 1000
"""Frames of a subset, where there are as many; torch-fidelity's number."""

_REDRAWN = 5  # pairs of subsets of a bootstrap draw


class Kid(SampledMetric):
    """Kernel Inception distance (Bińkowski et al. 2018), of the features that FID compares."""

    draws = 25

    def __init__(self) -> None:
        super().__init__(InceptionVectors())

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        return MetricInfo(
            name="kid",
            title="KID",
            higher_is_better=False,
            unit="",
            range=(-float("inf"), float("inf")),
            estimator="Inception-v3 of 2015, resized as pytorch-fid, cubic kernel",
            grade="standard",
            definition=(
                "Unbiased squared maximum mean discrepancy between the outputs' and the driving "
                "films' frames in the 2048 numbers of Inception's last pooling, with the kernel "
                f"(x.y / 2048 + 1)^3 (Bińkowski et al. 2018): mean over {SUBSETS} pairs of "
                f"subsets of {SIZE}. It may fall below 0 where there is no difference."
            ),
            weights=identities(INCEPTION.weights),
        )

    def value(self, outputs: Statistics, reals: Statistics) -> SetValue:
        """The distance; of smaller subsets, with a warning, where there are fewer frames.

        Raises:
            ValueError: There are fewer than two frames of either.
        """
        assert isinstance(outputs, Samples)
        assert isinstance(reals, Samples)
        size = min(outputs.count, reals.count, SIZE)
        found = kernel_distance(outputs.rows, reals.rows, subsets=SUBSETS, size=size)
        warning = f"subsets of {size} frames, for there are no {SIZE}" if size < SIZE else ""
        return SetValue(found.mean, outputs.count, reals.count, warning)

    def redrawn(self, outputs: Statistics, reals: Statistics) -> float:
        """The distance over fewer subsets.

        Raises:
            ValueError: As `value`.
        """
        assert isinstance(outputs, Samples)
        assert isinstance(reals, Samples)
        size = min(outputs.count, reals.count, SIZE)
        return kernel_distance(outputs.rows, reals.rows, subsets=_REDRAWN, size=size).mean
