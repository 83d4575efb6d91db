"""What is judged: a method turns a driving film, and a light or a portrait, into another film."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from infra.digests import digest_json
from infra.weights import identity

Picture = NDArray[np.uint8]
"""(S, S, 3), RGB."""

Mode = Literal["relight", "animate"]


class MethodError(Exception):
    """A method could not do what it was asked; the message says why, for a person."""


class FilmLike(Protocol):
    """A lossless film: what `evaluation.protocols.lossless.Film` is."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def frames(self) -> int:
        """How many."""
        ...

    @property
    def size(self) -> int:
        """Width and height in pixels."""
        ...

    @property
    def fps(self) -> Fraction:
        """Frames a second."""
        ...

    def pictures(self) -> Iterator[Picture]:
        """Its frames, one after the other, as they were."""
        ...


@dataclass(frozen=True)
class Light:
    """A light that is wanted.

    Attributes:
        name: What it is called.
        coefficients: Of spherical harmonics (9, 3), as in `stages.models.spherical_harmonics`.
        picture: A face that is lit so; None where the light was given by numbers.
    """

    name: str
    coefficients: NDArray[np.float32]
    picture: Path | None = None


@dataclass(frozen=True)
class Scratch:
    """What a method may use while it works.

    Attributes:
        folder: An empty folder of its own; removed afterwards.
        seed: Of its random numbers.
    """

    folder: Path
    seed: int


class Method(ABC):
    """A system that is judged.

    A subclass states its ``name``, and raises ``version`` whenever its code gives other films.
    What it needs and has not is told by `unavailable`: a reason, never a made-up number.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    modes: ClassVar[frozenset[Mode]] = frozenset({"relight"})

    def weights(self) -> tuple[str, ...]:
        """Names (in the weights registry) of the files that it loads."""
        return ()

    def options(self) -> Mapping[str, Any]:
        """What decides its films beside code and weights, in JSON types."""
        return {}

    @property
    def digest(self) -> str:
        """Of all that decides its films; 16 hexadecimal digits."""
        return digest_json(
            {
                "method": self.name,
                "version": self.version,
                "options": dict(self.options()),
                "weights": {name: identity(name) for name in self.weights()},
            }
        )[:16]

    @abstractmethod
    def unavailable(self) -> str:
        """Why it cannot run here, in a sentence; empty where it can. Cheap: loads nothing."""

    def setup(self) -> None:
        """Load models; called once, in the worker."""

    def close(self) -> None:
        """Let go of what ``setup`` loaded."""

    def relight(self, driving: FilmLike, light: Light, scratch: Scratch) -> Iterator[Picture]:
        """The driving film under another light, frame by frame, of the same size.

        Raises:
            MethodError: It cannot.
        """
        raise MethodError(f"{self.name} does not relight")

    def animate(self, driving: FilmLike, portrait: Picture, scratch: Scratch) -> Iterator[Picture]:
        """A portrait that moves as the driving film does, under its own light.

        Raises:
            MethodError: It cannot.
        """
        raise MethodError(f"{self.name} does not animate")
