"""Clips cut to the face's square: tracked once, resized once, kept losslessly.

What was cut of which bytes is written down, so that a run that was killed goes on where it was.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from evaluation.cells.places import Places
from evaluation.protocols.lossless import Film, keep_film
from evaluation.protocols.tables import Protocol
from infra.digests import canonical_json, digest_file, digest_json
from infra.errors import SourceError, UsageError
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

    def to_json(self) -> dict[str, Any]:
        """JSON types, without the film's folder, for a lake may be moved; see `from_json`."""
        film = self.film.to_json()
        del film["path"]
        return {"film": film, "facts": dict(self.facts)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any], places: Places) -> Self:
        """The piece that `to_json` told of, its film where films are kept now."""
        path = str(places.film(told["film"]["digest"]))
        return cls(Film.from_json({**told["film"], "path": path}), told["facts"])


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
        digest = _digest(path)
        piece = self._found(digest, portrait)
        if piece is None:
            frames = self._frames(portrait, DrivingFilm(path).still)
            piece = self._keep(self._name(digest, frames), self._cut(DrivingFilm(path, frames)))
        return self._fit(piece, portrait)

    def known_file(self, path: Path, *, portrait: bool = False) -> Piece | None:
        """What `file` gives, if it was cut before; None if it was not.

        The file is not opened as a video, which may hang or crash: its digest is all that counts.

        Raises:
            UsageError: It was cut, but it cannot be used: its face is too small, or it is short.
            SourceError: It cannot be read now.
        """
        piece = self._found(_digest(path), portrait)
        return None if piece is None else self._fit(piece, portrait)

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
        name, frames = self._name_of_square(sha256, fps), self._protocol.cut.frames
        piece = self._read(name)
        if piece is None:
            film = keep_film(self._places.films, self._resized(data, frames), fps)
            piece = self._keep(name, Piece(film, {}))
        return self._long(piece)

    def known_square(self, sha256: str, fps: Fraction) -> Piece | None:
        """What `square` gives, if it was cut before; None if it was not.

        Raises:
            UsageError: It was cut, but is too short.
        """
        piece = self._read(self._name_of_square(sha256, fps))
        return None if piece is None else self._long(piece)

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

    def _found(self, digest: str, portrait: bool) -> Piece | None:
        """What was cut of the file of that digest, whether it is a film or a picture."""
        for still in (False, True):
            piece = self._read(self._name(digest, self._frames(portrait, still)))
            if piece is not None and (portrait or piece.facts["still"] == still):
                return piece
        return None

    def _frames(self, portrait: bool, still: bool) -> int:
        cut = self._protocol.cut
        return 1 if portrait else cut.repeat if still else cut.frames

    def _fit(self, piece: Piece, portrait: bool) -> Piece:
        cut, facts = self._protocol.cut, piece.facts
        if facts["face"] < cut.min_face:
            raise UsageError(
                f"its face is {facts['face']:.0f} pixels high; {cut.min_face} are needed"
            )
        if facts["seen"] < SEEN:
            raise UsageError(f"its face is seen in {facts['seen']:.0%} of its frames only")
        return piece if facts["still"] or portrait else self._long(piece)

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

    def _name(self, digest: str, frames: int) -> str:
        """What the note on a file's piece is called."""
        cut = self._protocol.cut
        return self._named(
            {
                "file": digest,
                "frames": frames,
                "margin": cut.margin,
                "landmarks": cut.landmarks,
                "weights": self._weights,
            }
        )

    def _name_of_square(self, sha256: str, fps: Fraction) -> str:
        """What the note on a release's film is called."""
        frames = self._protocol.cut.frames
        return self._named({"member": sha256, "frames": frames, "fps": str(fps)})

    def _named(self, key: Mapping[str, Any]) -> str:
        return digest_json({"version": VERSION, "size": self._protocol.size, **key})[:32]

    def _read(self, name: str) -> Piece | None:
        """A piece as it was written down; None where it was not, or the note is damaged."""
        try:
            told = json.loads((self._places.subjects / f"{name}.json").read_bytes())
            seal = told.pop("seal")
            if digest_json(told) != seal:
                return None
            piece = Piece.from_json(told, self._places)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return piece if piece.film.path.is_file() else None

    def _keep(self, name: str, piece: Piece) -> Piece:
        told = piece.to_json()
        text = canonical_json({**told, "seal": digest_json(told)})
        path = self._places.subjects / f"{name}.json"
        write_atomic(path, (text + "\n").encode(), point="benchmark.subject")
        return piece


def _digest(path: Path) -> str:
    try:
        return digest_file(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
