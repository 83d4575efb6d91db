"""Nothing is done: what any method must beat, and the best that identity and quality can be."""

from collections.abc import Iterator
from itertools import repeat

from evaluation.methods.base import FilmLike, Light, Method, MethodOptions, Mode, Picture, Scratch


class CopyOptions(MethodOptions):
    """There is nothing to choose."""


class Copy(Method):
    """Gives back the driving film; a portrait that is to move is held still."""

    name = "copy"
    modes: frozenset[Mode] = frozenset({"relight", "animate"})

    def __init__(self, table: CopyOptions = CopyOptions()) -> None:  # noqa: B008 - frozen
        self._table = table

    def unavailable(self) -> str:
        """It always can."""
        return ""

    def relight(self, driving: FilmLike, light: Light, scratch: Scratch) -> Iterator[Picture]:
        """The driving film, to the bit."""
        yield from driving.pictures()

    def animate(self, driving: FilmLike, portrait: Picture, scratch: Scratch) -> Iterator[Picture]:
        """The portrait, as often as the driving film has frames."""
        yield from repeat(portrait, driving.frames)
