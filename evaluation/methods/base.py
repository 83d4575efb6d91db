"""What is judged: a method turns a driving film, and a light or a portrait, into another film."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from catalog.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from evaluation.versioned import Versioned
from infra.tables import Table

Picture = NDArray[np.uint8]
"""(S, S, 3), RGB."""

Mode = Literal["relight", "animate"]

_MEDIA = VIDEO_SUFFIXES | IMAGE_SUFFIXES


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
        case: What files of the case are called, no two cases' alike (`case_name`).
    """

    folder: Path
    seed: int
    case: str = ""


def case_name(*names: str) -> str:
    """What files of a case are called: the names of clip and light, or of clip and portrait.

    Endings of videos and pictures are left out, what a file's name had better not have is written
    as ``_``: `people/anna.mp4` and `left` are ``people_anna__left``.
    """
    return "__".join(re.sub(r"[^\w.+-]|^\.", "_", _bare(name)) for name in names)


def _bare(name: str) -> str:
    ending = PurePath(name).suffix
    return name.removesuffix(ending) if ending.lower() in _MEDIA else name


class MethodOptions(Table):
    """Base of every method's table of options."""

    def pinned(self) -> Self:
        """The same choice in words that mean the same on any machine, and at any time."""
        return self


class Method(Versioned, ABC):
    """A system that is judged.

    A subclass states its ``name``, and raises ``version`` whenever its code gives other films.
    What it needs and has not is told by `unavailable`: a reason, never a made-up number. Where it
    has any, `weights`, `options` and `digest` may raise.

    Attributes:
        modes: What it can do.
    """

    what = "method"
    modes: frozenset[Mode] = frozenset({"relight"})

    @abstractmethod
    def unavailable(self) -> str:
        """Why it cannot run here, in a sentence; empty where it can. Cheap: loads nothing."""

    def seconds(self, frames: int, gpu: bool) -> float:
        """How long a film may take before the method counts as hung.

        Args:
            frames: Of the film.
            gpu: Whether the worker that makes it is given one; who asks may have another device.
        """
        return 120.0 + 4.0 * frames

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
