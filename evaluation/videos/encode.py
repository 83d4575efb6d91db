"""For reports and studies: films as browsers play them, and pictures of the lights wanted.

Files are called by digests and carry no tags, dates or names: a study is blind. The same film or
light makes the same bytes, and what is there is not made again.
"""

import io
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.cells.cell import LightTarget
from evaluation.protocols.lossless import Film, made_anew
from infra.digests import digest_bytes
from infra.errors import LakeError
from infra.storage import fsync_path, lake_errors, write_atomic
from stages.encode import VideoWriter
from stages.models.spherical_harmonics import shade

CRF = 16
"""Constant rate factor of x264: differences between methods must not drown in ours."""

BALL_SIZE = 256
"""Width and height of the picture of a ball, in pixels."""

_NAME = 32  # hexadecimal digits of a file's name
_MARGIN = 0.04  # of the ball's picture, on each side


def playable(film: Film, folder: Path) -> str:
    """Write a film as H.264 in MP4: 4:2:0, ready to play before it is loaded.

    Args:
        film: What is encoded; of an even size.
        folder: Where to; made where it is missing.

    Returns:
        The file's name, ``<beginning of the film's digest>.mp4``.

    Raises:
        ValueError: The film's size is odd, which 4:2:0 cannot have.
        LakeError: The film is damaged (it is removed: the next run makes it anew), or the disk is
            full or read-only.
    """
    final = folder / f"{film.digest[:_NAME]}.mp4"
    if final.is_file():
        return final.name
    temporary = folder / f".{uuid4().hex}.tmp"
    with lake_errors(final), made_anew():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            size = (film.size, film.size)
            with VideoWriter(temporary, size=size, fps=film.fps, crf=CRF) as writer:
                for picture in film.pictures():
                    writer.write(picture)
            fsync_path(temporary)
            temporary.rename(final)
            fsync_path(folder)
        finally:
            temporary.unlink(missing_ok=True)
    return final.name


def light_picture(target: LightTarget, folder: Path) -> str:
    """Write what a light looks like: the face that it was found on, or a ball that it falls on.

    Args:
        target: The light.
        folder: Where to; made where it is missing.

    Returns:
        The file's name, ``<beginning of its pixels' digest>.png``.

    Raises:
        LakeError: The face cannot be read (it is removed: the next run makes it anew), or the disk
            is full or read-only.
    """
    pixels = _face(target.picture) if target.picture else ball(target.coefficients)
    final = folder / f"{digest_bytes(pixels.tobytes())[:_NAME]}.png"
    if not final.is_file():
        data = io.BytesIO()
        # Of the pixels alone: what else a picture's file says stays where it is.
        Image.fromarray(pixels).save(data, "png")
        write_atomic(final, data.getvalue(), point="benchmark.picture")
    return final.name


def ball(light: NDArray[np.floating], size: int = BALL_SIZE) -> NDArray[np.uint8]:
    """A white ball under a light, on black ground, as the camera sees it.

    It is as bright as can be without clipping: lights by name are scaled to each face's exposure,
    and what is asked for is where light comes from, and its colour.

    Args:
        light: Coefficients (9, 3), as in `stages.models.spherical_harmonics`.
        size: Width and height in pixels.

    Returns:
        (size, size, 3), RGB.
    """
    steps = (2 * (np.arange(size) + 0.5) / size - 1) / (1 - 2 * _MARGIN)
    x, y = np.meshgrid(steps, -steps)
    radius = np.hypot(x, y)
    # Pixels of the rim are shaded as the rim is, and shown for the share that the ball covers.
    inside = np.maximum(radius, 1)
    x, y = x / inside, y / inside
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    shading = shade(light, np.stack([x, y, z], axis=-1))
    cover = np.clip((1 - radius) * size * (0.5 - _MARGIN) + 0.5, 0, 1)
    peak = float(shading[cover == 1].max())
    values = np.clip(shading / peak, 0, 1) if peak > 0 else np.zeros_like(shading)
    return np.round(values * cover[..., None] * 255).astype(np.uint8)


def _face(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        with lake_errors(path):
            path.unlink(missing_ok=True)
        raise LakeError(
            f"the face {path} cannot be read: {error}",
            hint="run the same command again: it is written anew",
        ) from error
