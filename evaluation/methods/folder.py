"""Films made elsewhere: by a program that does not run here, or by its authors.

They lie in one folder, each named after what it was made of::

    <folder>/<driving>__<light>.<ending>    a film, such as `anna__left.mp4`
    <folder>/<driving>__<light>/            or its frames as pictures, in the order of their names
    <folder>/<driving>__<portrait>...       the same of a portrait that moves as the driving clip

Clips, lights and portraits are called as the benchmark calls them, without their own endings. A
character that a file's name had better not have is written as `_`. Where two cases would be called
the same, each is also told by a part of its id; the row of a film that is missing says its name.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from evaluation.methods.base import (
    FilmLike,
    Light,
    Method,
    MethodError,
    MethodOptions,
    Mode,
    Picture,
    Scratch,
)
from evaluation.methods.made import FILMS, read_made
from infra.digests import digest_file, digest_json


class FolderOptions(MethodOptions):
    """Where the films are."""

    folder: Path
    """The folder."""

    def pinned(self) -> Self:
        """With an absolute path."""
        return self.model_copy(update={"folder": self.folder.absolute()})


class Folder(Method):
    """Gives back films that are there already."""

    name = "folder"
    modes: frozenset[Mode] = frozenset({"relight", "animate"})

    def __init__(self, table: FolderOptions) -> None:
        self._folder = table.folder

    def options(self) -> dict[str, Any]:
        """What is in the films, wherever they lie."""
        return {"content": self._content}

    def unavailable(self) -> str:
        """The folder is not there."""
        return "" if self._folder.is_dir() else f"there is no folder {self._folder}"

    def relight(self, driving: FilmLike, light: Light, scratch: Scratch) -> Iterator[Picture]:
        """The film that is named after both.

        Raises:
            MethodError: It is not there, or is of another length or size.
        """
        return self._named(driving, scratch)

    def animate(self, driving: FilmLike, portrait: Picture, scratch: Scratch) -> Iterator[Picture]:
        """The film that is named after both.

        Raises:
            MethodError: It is not there, or is of another length or size.
        """
        return self._named(driving, scratch)

    def _named(self, driving: FilmLike, scratch: Scratch) -> Iterator[Picture]:
        for path in (self._folder / f"{scratch.case}{end}" for end in (*FILMS, "")):
            if path.exists():
                return read_made(path, driving)
        raise MethodError(
            f"{self._folder / scratch.case}{FILMS[0]} is not there (nor with"
            f" {', '.join(FILMS[1:])}, nor as a folder of pictures)"
        )

    @cached_property
    def _content(self) -> str:
        if reason := self.unavailable():
            raise MethodError(reason)
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return digest_json(
            {path.relative_to(self._folder).as_posix(): digest_file(path) for path in files}
        )
