"""Clips cut to the face's square: tracked once, resized once, kept losslessly.

What was cut of which bytes is written down, so that a run that was killed goes on where it was.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.cells.places import Places
from evaluation.protocols.lossless import Film, keep_film
from evaluation.protocols.tables import Protocol
from infra.digests import canonical_json, digest_file, digest_json
from infra.errors import UsageError
from infra.storage import write_atomic
from infra.weights import identity
from stages.frame import choose_crop, face_boxes
from stages.frames import cut_portrait
from stages.models.faces import FACE_MODELS
from training.films import NormalFilm
from training.relight.film import DrivingFilm

VERSION = 1
"""Raised whenever other frames are cut of the same bytes."""

SEEN = 0.5
"""Share of a video's frames in which its face must be seen."""

_BATCH = 16  # frames of a release's film that are decoded at a time


@dataclass(frozen=True)
class Piece:
    """A film that was cut, and how.

    Attributes:
        film: Its frames.
        facts: Where the square lay, and how the face was seen, in JSON types.
    """

    film: Film
    facts: Mapping[str, Any]


class Cutter:
    """Cuts clips as a protocol says.

    Args:
        protocol: What it says.
        places: Where films are kept.
    """

    def __init__(self, protocol: Protocol, places: Places) -> None:
        self._protocol = protocol
        self._places = places

    def file(self, path: Path, *, portrait: bool = False) -> Piece:
        """The face's square of a video or a picture.

        Args:
            path: The file.
            portrait: Its first frame alone.

        Raises:
            UsageError: It cannot be used: no video, no face, or too small or short.
            SourceError: It cannot be read now.
            LakeError: The disk is full or read-only.
        """
        still = DrivingFilm(path).still
        cut = self._protocol.cut
        frames = 1 if portrait else cut.repeat if still else cut.frames
        key = {
            "file": digest_file(path),
            "frames": frames,
            "margin": cut.margin,
            "landmarks": cut.landmarks,
            "weights": self._weights,
        }
        piece = self._kept(key, lambda: self._cut(DrivingFilm(path, frames)))
        if piece.facts["face"] < cut.min_face:
            raise UsageError(
                f"its face is {piece.facts['face']:.0f} pixels high; {cut.min_face} are needed"
            )
        if piece.facts["seen"] < SEEN:
            raise UsageError(f"its face is seen in {piece.facts['seen']:.0%} of its frames only")
        return piece if still or portrait else self._long(piece)

    def square(self, data: bytes, sha256: str, fps: Fraction) -> Piece:
        """A release's film, which is the face's square already, resized.

        Args:
            data: Bytes of the member ``video.mp4``.
            sha256: Their digest, as the release's index tells it.
            fps: Frames a second.

        Raises:
            UsageError: It is too short.
            LakeError: It cannot be read, or the disk is full or read-only.
        """
        frames = self._protocol.cut.frames
        key = {"member": sha256, "frames": frames, "fps": str(fps)}

        def make() -> Piece:
            return Piece(keep_film(self._places.films, self._resized(data, frames), fps), {})

        return self._long(self._kept(key, make))

    def first(self, film: Film) -> Film:
        """A film's first picture, as a film of its own.

        Raises:
            DamagedFilm: The film cannot be read.
            LakeError: The disk is full or read-only.
        """
        return keep_film(self._places.films, [next(film.pictures())], film.fps)

    @cached_property
    def _weights(self) -> dict[str, str]:
        return {name: identity(name) for name in FACE_MODELS[self._protocol.cut.landmarks].weights}

    def _long(self, piece: Piece) -> Piece:
        least = min(self._protocol.cut.shortest, self._protocol.cut.frames)
        if piece.film.frames < least:
            raise UsageError(f"it has {piece.film.frames} frames; {least} are needed")
        return piece

    def _cut(self, film: DrivingFilm) -> Piece:
        cut, size = self._protocol.cut, self._protocol.size
        track = film.track(cut.landmarks)
        boxes = face_boxes(track.points[track.valid])
        height, width = film.frame(0).shape[:2]
        crop = choose_crop("face", boxes, (width, height), cut.margin)
        squares = (cut_portrait(frame, crop, size) for frame in film)
        facts = {
            "crop": [int(each) for each in crop],
            "picture": [width, height],
            "face": round(float(np.median(boxes[:, 3] - boxes[:, 1])), 2),
            "seen": round(float(track.valid.mean()), 4),
            "still": film.still,
        }
        return Piece(keep_film(self._places.films, squares, film.fps), facts)

    def _resized(self, data: bytes, frames: int) -> Iterator[NDArray[np.uint8]]:
        size = self._protocol.size
        with NormalFilm(data) as film:
            count = min(frames, len(film))
            for begin in range(0, count, _BATCH):
                for picture in film.read(range(begin, min(begin + _BATCH, count))):
                    height, width = picture.shape[:2]
                    yield cut_portrait(picture, (0, 0, width, height), size)

    def _kept(self, key: Mapping[str, Any], make: Callable[[], Piece]) -> Piece:
        """The piece of that key: as it was written down, or made now."""
        size = self._protocol.size
        name = digest_json({"version": VERSION, "size": size, **key})[:32]
        path = self._places.subjects / f"{name}.json"
        piece = _read(path, self._places)
        if piece is None:
            piece = make()
            told = {"film": piece.film.to_json(), "facts": dict(piece.facts)}
            del told["film"]["path"]  # a lake may be moved
            text = canonical_json({**told, "seal": digest_json(told)})
            write_atomic(path, (text + "\n").encode(), point="benchmark.subject")
        return piece


def _read(path: Path, places: Places) -> Piece | None:
    try:
        told = json.loads(path.read_bytes())
        seal = told.pop("seal")
        if digest_json(told) != seal:
            return None
        film = Film.from_json({**told["film"], "path": places.film(told["film"]["digest"])})
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Piece(film, told["facts"]) if film.path.is_file() else None
