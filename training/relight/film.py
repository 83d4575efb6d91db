"""The driving video: frames of a film, or of a still picture that stands for one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.errors import UsageError
from stages.face_track import track_landmarks
from stages.frames import IMAGE_REPEAT, Frames, SourceFrames, read_headers
from stages.media import UnusableVideo
from stages.models.face_geometry import FaceTrack
from stages.models.faces import FaceModelName, face_landmarks
from stages.pictures import open_picture

BUDGET = 512 << 20
"""Bytes of decoded frames that are kept; those of longer films are decoded anew for each pass."""

_ANY_DAMAGE = 1 << 30  # a damaged frame shows the one before it, rather than ending the work

Picture = NDArray[np.uint8]


class DrivingFilm(Frames):
    """Frames of a film from its beginning, iterated as often as one likes.

    Args:
        path: A film; or a picture, which counts as a film that stands still.
        frames: How many at most. A picture becomes as many, or 16 without.

    Attributes:
        path: The same.
        still: It is a picture.
        fps: Frames a second.
        sounds: It has sound.
        promised: Frames as the headers tell; None where they do not.

    Raises:
        UsageError: It is no usable video, or ``frames`` is less than 1.
        SourceError: The file is not there, or may not be read.
    """

    def __init__(self, path: Path, frames: int | None = None) -> None:
        if frames is not None and frames < 1:
            raise UsageError(f"--frames {frames}: at least 1 is needed")
        self.path = path
        self._most = frames
        with _usable(path):
            headers = read_headers(path)
            with open_picture(path) as picture:
                self.still = picture is not None
        self.fps: Fraction = headers.rate
        known = headers.frames or None
        self.promised = known if frames is None else min(known or frames, frames)
        self.sounds = headers.audio is not None
        self._source = SourceFrames(
            path,
            budget=BUDGET,
            image_repeat=frames or IMAGE_REPEAT,
            max_corrupt=_ANY_DAMAGE,
        )
        self._count: int | None = None

    def __iter__(self) -> Iterator[Picture]:
        count = 0
        with _usable(self.path):
            for frame in islice(iter(self._source), self._most):
                count += 1
                yield frame
        self._count = count

    def __len__(self) -> int:
        """Frames; decodes the film where nobody has yet."""
        if self._count is None:
            for _ in self:
                pass
        assert self._count is not None
        return self._count

    def frame(self, index: int) -> Picture:
        """One frame."""
        return next(islice(self, index, None))

    def track(
        self, model: FaceModelName, each: Callable[[int, int | None], None] | None = None
    ) -> FaceTrack:
        """The largest and most lasting face, in every frame.

        Args:
            model: Name of the landmark model.
            each: Called with the number of frames looked at, and of all, as far as it is known.

        Raises:
            UsageError: There is none.
        """
        if self.still:
            points = face_landmarks(self.frame(0), model)
            found = points if points is None else self._held(points)
        else:
            seen = self if each is None else self._watched(each)
            found = track_landmarks(seen, fps=float(self.fps), model=model)
        if found is None:
            raise UsageError(
                f"no face is found in any frame of {self.path}",
                hint="choose a video of a person whose face is seen, 40 pixels high or more",
            )
        return found

    def _watched(self, each: Callable[[int, int | None], None]) -> Iterator[Picture]:
        for index, frame in enumerate(self, 1):
            each(index, self.promised)
            yield frame

    def _held(self, points: NDArray[np.float64]) -> FaceTrack:
        # A tracker's looks at one picture differ a little from each other: it would tremble.
        track = FaceTrack.still(points, max(self.frame(0).shape[:2]))
        many = np.repeat(track.points, len(self), axis=0)
        return replace(track, points=many, valid=np.ones(len(self), bool), fps=float(self.fps))


def read_picture(path: Path, what: str) -> Picture:
    """A still picture, uint8 RGB (H, W, 3), upright.

    Args:
        path: The file.
        what: What it is for, in the error's words.

    Raises:
        UsageError: It is no picture that can be read.
        SourceError: The file is not there, or may not be read.
    """
    with _usable(path), open_picture(path) as picture:
        if picture is None:
            raise UsageError(
                f"the {what} {path} is no picture",
                hint="PNG, JPEG, WebP, BMP, TIFF and PPM are read",
            )
        return picture.rgb()


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except UnusableVideo as error:
        raise UsageError(f"{path} cannot be used: {error}") from error
