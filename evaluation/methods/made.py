"""Films that other programs made: read back, and held against what was asked for."""

import re
from collections.abc import Iterator
from pathlib import Path

from evaluation.methods.base import FilmLike, MethodError, Picture
from infra.errors import SourceError
from stages.frames import SourceFrames
from stages.media import UnusableVideo
from stages.pictures import open_picture

FILMS = (".mkv", ".mp4", ".mov", ".webm", ".avi")
"""Endings of films, the lossless first."""

PICTURES = (".png", ".bmp", ".tif", ".tiff", ".ppm", ".webp", ".jpg", ".jpeg")
"""Endings of pictures, the lossless first."""


def read_made(path: Path, driving: FilmLike) -> Iterator[Picture]:
    """Frames of a film that somebody made of a driving film.

    Args:
        path: A film; or a folder of pictures, one a frame, in the order of their names, in which
            numbers count as numbers.
        driving: What it must be as long and as large as.

    Raises:
        MethodError: It is not there, cannot be read, or is of another length or size; what was
            wrong with a frame is told once the frames before it were given.
    """
    count = 0
    for picture in _pictures(path):
        if picture.shape[:2] != (driving.size, driving.size):
            height, width = picture.shape[:2]
            raise MethodError(
                f"frame {count} of {path} has {width} x {height} pixels; {driving.size} x"
                f" {driving.size} are needed, as the driving film has"
            )
        count += 1
        if count > driving.frames:
            raise MethodError(f"{path} has more than the {driving.frames} frames that are needed")
        yield picture
    if count < driving.frames:
        raise MethodError(f"{path} has {count} frames; {driving.frames} are needed")


def _pictures(path: Path) -> Iterator[Picture]:
    if not path.exists():
        raise MethodError(f"{path} is not there")
    try:
        if path.is_dir():
            yield from _of_folder(path)
        else:
            yield from SourceFrames(path, budget=0)
    except (UnusableVideo, SourceError) as error:
        raise MethodError(f"{path} cannot be read: {error}") from error


def _of_folder(folder: Path) -> Iterator[Picture]:
    files = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES]
    if not files:
        raise MethodError(f"{folder} holds no pictures ({', '.join(PICTURES)})")
    for path in sorted(files, key=_in_order):
        with open_picture(path) as picture:
            if picture is None:
                raise MethodError(f"{path} is no picture")
            yield picture.rgb()


def _in_order(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sorts `frame_9` before `frame_10`."""
    parts = re.split(r"(\d+)", path.stem)
    return tuple((1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts)
