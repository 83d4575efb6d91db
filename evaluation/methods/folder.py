"""Films made elsewhere: by a program that does not run here, or by its authors.

They lie in one folder, each named after what it was made of::

    <folder>/<subject>__<light>.<ending>    a film, such as `anna__left.mp4`
    <folder>/<subject>__<light>/            or its frames as pictures, in the order of their names

The subject's name is that of the driving film. A character that a file's name had better not have
is written as `_`.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from evaluation.methods.base import FilmLike, Light, Method, MethodError, Picture, Scratch
from evaluation.methods.made import FILMS, read_made
from infra.digests import digest_file, digest_json
from infra.tables import Table


class FolderOptions(Table):
    """Where the films are."""

    folder: Path
    """The folder."""


class Folder(Method):
    """Gives back films that are there already."""

    name = "folder"

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
        name = film_name(subject_of(driving), light.name)
        for path in (self._folder / f"{name}{end}" for end in (*FILMS, "")):
            if path.exists():
                yield from read_made(path, driving)
                return
        raise MethodError(
            f"{self._folder / name}{FILMS[0]} is not there (nor with {', '.join(FILMS[1:])}, nor"
            " as a folder of pictures)"
        )

    @cached_property
    def _content(self) -> str:
        if reason := self.unavailable():
            raise MethodError(reason)
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return digest_json(
            {path.relative_to(self._folder).as_posix(): digest_file(path) for path in files}
        )


def subject_of(driving: FilmLike) -> str:
    """What a driving film is called: its own name where it has one, else its file's."""
    return str(getattr(driving, "name", "") or driving.path.stem)


def film_name(subject: str, light: str) -> str:
    """Name, without an ending, of the film of a subject under a light."""
    return "__".join(re.sub(r"[^\w.+-]|^\.", "_", each) for each in (subject, light))
