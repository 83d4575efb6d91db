"""One look at a film for all who want to know something of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.cells import gpu
from evaluation.metrics.base import Extractor, FeaturePass
from evaluation.protocols.lossless import DamagedFilm, Film, read_film
from infra.errors import LimelightError

BATCH = 16
"""Frames that are decoded at a time; values do not depend on it."""


@dataclass(frozen=True)
class Measured:
    """What was found in a film.

    Attributes:
        features: By the extractor's digest.
        failures: Why there are none, by the digest of an extractor that raised.
    """

    features: Mapping[str, dict[str, NDArray[Any]]] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)


def measure(film: Film, extractors: Iterable[Extractor], batch: int = BATCH) -> Measured:
    """Show a film once to extractors that are set up.

    One that raises costs its own features only. The others' are the same with and without it.

    Args:
        film: What they see.
        extractors: Those of one digest count once.
        batch: Frames decoded at a time.

    Raises:
        DamagedFilm: The film is not what was written: nothing that was found counts.
        LimelightError: An extractor met what a person has to see to, such as a missing weight.
        torch.AcceleratorError: The GPU is of no use to this process any more.
    """
    failures: dict[str, str] = {}
    passes: dict[str, FeaturePass] = {}
    for digest, extractor in {each.digest: each for each in extractors}.items():
        try:
            passes[digest] = extractor.start(film.frames, film.size)
        except Exception as error:
            failures[digest] = _told(error)
    for frames in read_film(film, batch) if passes else ():
        frames.flags.writeable = False  # what one sees is what the next one sees
        for digest, each in list(passes.items()):
            try:
                each.add(frames)
            except Exception as error:
                failures[digest] = _told(error)
                del passes[digest]
    features: dict[str, dict[str, NDArray[Any]]] = {}
    for digest, each in passes.items():
        try:
            features[digest] = _numbers(each.finish())
        except Exception as error:
            failures[digest] = _told(error)
    return Measured(features, failures)


def _numbers(found: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Features as they can be kept: arrays of numbers."""
    arrays = {name: np.asarray(value, order="C") for name, value in found.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biufc":
            raise TypeError(f"the feature {name!r} is {array.dtype}, no numbers")
    return arrays


def _told(error: Exception) -> str:
    """The error in words; what no other film would survive either is raised again."""
    if isinstance(error, LimelightError | MemoryError | DamagedFilm) or gpu.is_lost(error):
        raise error
    return f"{type(error).__name__}: {error}"
