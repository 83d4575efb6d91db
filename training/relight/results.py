"""What a relighting leaves: the film with its sound, the grid beside it, and a record of it all."""

import errno
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from infra.errors import LakeError
from stages.encode import VideoWriter
from stages.sound import add_sound, save_sound
from training.relight.conditions import Picture
from training.relight.film import DrivingFilm
from training.relight.grid import GridWriter

_KEY_SECONDS = 2  # from key frame to key frame: what a player jumps by

_FILM, _GRID, _SHEET, _RECORD = ".mp4", ".grid.mp4", ".sheet.jpg", ".json"

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def names_of(output: Path) -> tuple[Path, ...]:
    """The film, and what may come beside it: grid, sheet and record."""
    return (output, *(output.with_suffix(end) for end in (_GRID, _SHEET, _RECORD)))


@contextmanager
def disk_errors(output: Path) -> Iterator[None]:
    """Turn 'disk full', 'read-only' and 'not allowed' into an error that names the output.

    Raises:
        LakeError: The disk cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise LakeError(
            f"{output} cannot be written: {error.strerror}",
            hint="free some space, or name another --output",
        ) from error


@dataclass(frozen=True)
class RelightResult:
    """What was made.

    Attributes:
        output: The film.
        grid: Reference, driver, what drove the portrait, and result side by side, as a film; None
            where it was not asked for.
        sheet: A few of its frames, as one picture; or None.
        record: `facts`, as a JSON file.
        facts: Sources, light, choices, model, frames, and seconds by part of the work.
    """

    output: Path
    grid: Path | None
    sheet: Path | None
    record: Path
    facts: dict[str, Any]


class Results:
    """Writes the files, in a folder of its own until all of them are whole.

    Use as a context manager.

    Args:
        output: The film; the others are called after it: ``OUT.grid.mp4``, ``OUT.sheet.jpg`` and
            ``OUT.json``.

    Attributes:
        sound: How the film got its sound, ``copied`` or ``encoded``; None where it has none.
    """

    sound: str | None = None

    def __init__(self, output: Path) -> None:
        self._output = output
        self._writers = ExitStack()
        self._film: VideoWriter | None = None
        self._grid: GridWriter | None = None

    def __enter__(self) -> Self:
        folder = self._output.parent
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = TemporaryDirectory(prefix=f".{self._output.stem}.", dir=folder)
        self._scratch = Path(self._folder.name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._writers.__exit__(kind, error, trace)
        finally:
            self._folder.cleanup()

    def room(self) -> BinaryIO:
        """An empty file without a name, on the disk of the results."""
        return cast("BinaryIO", TemporaryFile(dir=self._scratch))

    def add_grid(self, captions: tuple[str, ...], *, fps: Fraction, frames: int) -> None:
        """Make a grid, too; see `training.relight.grid.GridWriter`."""
        film, sheet = self._scratch / f"silent{_GRID}", self._scratch / _SHEET
        writer = GridWriter(film, sheet, captions, fps=fps, frames=frames)
        self._grid = self._writers.enter_context(writer)

    def write(self, picture: Picture, *, fps: Fraction, crf: int) -> None:
        """Append a frame (H, W, 3) to the film; an odd last row or column is left out."""
        height, width = (side - side % 2 for side in picture.shape[:2])
        if self._film is None:
            path, gop = self._scratch / f"silent{_FILM}", max(round(_KEY_SECONDS * fps), 1)
            writer = VideoWriter(path, size=(width, height), fps=fps, crf=crf, gop=gop)
            self._film = self._writers.enter_context(writer)
        self._film.write(picture[:height, :width])

    def write_row(self, *panels: Picture) -> None:
        """Append a frame to the grid."""
        assert self._grid is not None
        self._grid.write(*panels)

    def finish(self, film: DrivingFilm, frames: int) -> None:
        """Close the films, and give them the sound of what drove them.

        Args:
            film: Where the sound is.
            frames: So much of it.
        """
        self._writers.close()
        sound = self._scratch / "sound.m4a"
        if film.sounds and not film.still:
            self.sound = save_sound(film.path, sound, duration=frames / film.fps)
        for end in (_FILM, _GRID) if self._grid else (_FILM,):
            silent = self._scratch / f"silent{end}"
            add_sound(silent, sound if self.sound else None, self._scratch / end)

    def publish(self, facts: dict[str, Any]) -> RelightResult:
        """Give the files their names; what an earlier film left under these goes."""
        told = (f"  {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in facts.items())
        text = "{\n" + ",\n".join(told) + "\n}\n"  # a line for each, however much it tells
        (self._scratch / _RECORD).write_text(text, encoding="utf-8")
        made = {}
        for end, name in zip((_FILM, _GRID, _SHEET, _RECORD), names_of(self._output), strict=True):
            if (self._scratch / end).exists():
                made[end] = (self._scratch / end).rename(name)
            else:
                name.unlink(missing_ok=True)
        return RelightResult(made[_FILM], made.get(_GRID), made.get(_SHEET), made[_RECORD], facts)
