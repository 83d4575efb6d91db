"""What FID, KID and FVD share: features of all films, compared as sets."""

from collections.abc import Mapping
from typing import ClassVar

from evaluation.frechet.distance import Gaussian, frechet_distance
from evaluation.frechet.infinite import frechet_at_infinity, too_few
from evaluation.frechet.samples import Samples
from evaluation.metrics.base import Extractor, Features, Role, SetMetric, SetValue, Statistics


class SampledMetric(SetMetric):
    """A metric of the outputs' feature vectors against the driving films'.

    Args:
        extractor: Finds the vectors, under the name ``vector``.
    """

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor

    def extractors(self) -> Mapping[Role, Extractor]:
        """Of the output, and of the driving film: the real ones."""
        return {"output": self._extractor, "driving": self._extractor}

    def statistics(self, features: Features) -> Samples:
        """The vectors of one film."""
        return Samples.of(features["vector"])


class FrechetMetric(SampledMetric):
    """Fréchet distance, of the outputs there are or extrapolated to infinitely many.

    Args:
        extractor: As above.
        infinite: Whether to extrapolate.
    """

    ddof: ClassVar[int] = 1
    """What is taken from n to divide covariances by."""

    def __init__(self, extractor: Extractor, *, infinite: bool = False) -> None:
        super().__init__(extractor)
        self._infinite = infinite

    def value(self, outputs: Statistics, reals: Statistics) -> SetValue:
        """The distance.

        Raises:
            ValueError: There are too few vectors: fewer than two, or than an extrapolation needs.
        """
        assert isinstance(outputs, Samples)
        assert isinstance(reals, Samples)
        if self._infinite:
            distance = frechet_at_infinity(outputs, reals, ddof=self.ddof).value
        else:
            one, other = (Gaussian.of_samples(each, self.ddof) for each in (outputs, reals))
            distance = frechet_distance(one, other)
        warning = too_few(outputs.count, reals.count, outputs.width)
        return SetValue(distance, outputs.count, reals.count, warning)
