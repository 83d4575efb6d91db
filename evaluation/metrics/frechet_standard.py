"""What FID, KID and FVD share: features of all films, compared as sets."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evaluation.frechet.distance import Gaussian, frechet_distance
from evaluation.frechet.infinite import frechet_at_infinity, too_few
from evaluation.frechet.samples import Samples
from evaluation.metrics.base import (
    Extractor,
    FeaturePass,
    Features,
    Role,
    SetMetric,
    SetValue,
    Statistics,
)
from evaluation.metrics.chunks import ChunkedPass
from stages.models.offer import Offer

EXTRAPOLATED = (
    ", extrapolated to infinitely many outputs by a line over 1/n through the distances of growing "
    "subsets (Chong and Forsyth 2020)"
)
"""For definitions."""

Look = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A network: pictures (n, H, W, 3) or clips (n, T, H, W, 3) to vectors (n, d)."""


class NetworkVectors(Extractor):
    """Feature vectors of a film by a network: ``vector`` (n, d) float32.

    A subclass states the network, how many numbers a vector has, and of how many frames each
    chunk of the film is.
    """

    offer: ClassVar[Offer]
    width: ClassVar[int]
    chunk: ClassVar[int]

    def __init__(self) -> None:
        self._look: Look | None = None

    def weights(self) -> tuple[str, ...]:
        """The network's."""
        return self.offer.weights

    def setup(self) -> None:
        """Load the network.

        Raises:
            UsageError: A package is missing.
            WeightsError: Its weights are not here, or are another network's.
        """
        self._look = self.load()

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film.

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._look is None:
            raise RuntimeError(f"{self.name}: call setup before start")
        return _VectorPass(self, self._look)

    def close(self) -> None:
        """Let go of the network."""
        self._look = None

    def load(self) -> Look:
        """The network, ready."""
        look: Look = self.offer.load()()
        return look

    @abstractmethod
    def shown(self, chunk: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the network is shown of a chunk (n, S, S, 3); the film's last may be shorter."""


class _VectorPass(ChunkedPass):
    def __init__(self, extractor: NetworkVectors, look: Look) -> None:
        super().__init__(extractor.chunk)
        self._extractor, self._look = extractor, look
        self._found = [np.empty((0, extractor.width), np.float32)]

    def see(self, chunk: NDArray[np.uint8]) -> None:
        shown = self._extractor.shown(chunk)
        if len(shown):
            self._found.append(self._look(shown))

    def result(self) -> dict[str, NDArray[Any]]:
        return {"vector": np.concatenate(self._found)}


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
        if infinite:  # a draw has too few distinct vectors for a line, and would take a minute
            self.draws = 0

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

    def redrawn(self, outputs: Statistics, reals: Statistics) -> float:
        """The distance, to about five digits.

        Raises:
            ValueError: As `value`.
        """
        assert isinstance(outputs, Samples)
        assert isinstance(reals, Samples)
        one, other = (Gaussian.of_weighted(each, self.ddof) for each in (outputs, reals))
        return frechet_distance(one, other, rough=True)
