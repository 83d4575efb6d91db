"""Still pictures as sources: PNG, JPEG, WebP and their kin, read by Pillow."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from stages.media import MAX_PIXELS, CorruptVideo, Headers, UnusableVideo, open_file
from stages.schedule import DEFAULT_RATE

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
"""Pillow's names of the formats that count as pictures."""

_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6", b"GIF8")


@dataclass
class Picture:
    """An opened still picture, and what its header claims."""

    image: Image.Image
    headers: Headers

    def rgb(self) -> np.ndarray:
        """Decode it: upright RGB, shape (H, W, 3), uint8; alpha is dropped.

        Raises:
            CorruptVideo: It is cut off or damaged.
        """
        try:
            image = ImageOps.exif_transpose(self.image)
            if image.mode.startswith("I"):
                # Pillow would clip 16-bit greys at 255 instead of scaling them.
                grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.array(image.convert("RGB"))
        except MemoryError:
            raise
        except Exception as error:  # Pillow raises whatever its parsers stumble on
            raise CorruptVideo(
                f"the picture is cut off or damaged ({error})",
                {"frames": 1, "corrupt": 1, "first_corrupt": 0.0},
            ) from error


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these bytes (12 at least) may be a still picture."""
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


@contextmanager
def open_picture(source: Path | BinaryIO) -> Iterator[Picture | None]:
    """Open a still picture, reading no more than its header; None for anything else.

    Animations (GIF, APNG) are anything else: they are films. Of a file of several JPEGs
    behind one another, the first counts: it is mostly a still with its depth map.

    Raises:
        SourceError: The file is not there, or may not be read.
        UnusableVideo: It is a picture, but a broken or a monstrous one.
    """
    with open_file(source) as file:
        head = file.read(12)
        file.seek(0)
        if not is_picture(head):
            yield None
            return
        try:
            image = Image.open(file, formats=FORMATS)
            animated = image.format != "MPO" and getattr(image, "is_animated", False)
        except Image.DecompressionBombError as error:
            raise UnusableVideo(f"its header asks for too many pixels ({error})") from error
        except UnidentifiedImageError as error:
            raise UnusableVideo("it begins like a picture, but is none") from error
        except MemoryError:
            raise
        except Exception as error:  # Pillow raises whatever its parsers stumble on
            raise UnusableVideo(f"it begins like a picture, but is none ({error})") from error
        if image.width * image.height > MAX_PIXELS:
            raise UnusableVideo(
                f"its header asks for {image.width}x{image.height}, more than {MAX_PIXELS} pixels"
            )
        with image:
            yield None if animated else Picture(image, _headers(image))


def _headers(image: Image.Image) -> Headers:
    kind = (image.format or "picture").lower()
    return Headers(
        container=kind,
        codec=kind,
        width=image.width,
        height=image.height,
        coded=image.size,
        sample_aspect=Fraction(1),
        rate=DEFAULT_RATE,
        frames=1,
        duration=0.0,
    )
