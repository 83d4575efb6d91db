"""Frames as stages see them: of the source, and of its normal form.

Both kinds are iterated as often as one likes, yield RGB uint8 arrays of shape (H, W, 3),
and keep what was decoded within a budget of bytes; beyond it they decode again, so that
memory is bounded for a clip of any length.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from stages.decode import Film, open_film
from stages.media import CorruptVideo, Headers, UnusableVideo
from stages.pictures import Picture, open_picture
from stages.schedule import Schedule, TimestampError
from stages.upright import Orientation, Upright

IMAGE_REPEAT = 16
"""How often a still picture is repeated: one training clip's length."""

HDR_TRANSFERS = (16, 18)
"""FFmpeg's numbers of the PQ and HLG transfer functions."""


def read_headers(source: Path | BinaryIO) -> Headers:
    """What a source's headers claim, without decoding it (about 3 ms).

    Args:
        source: A local file's path, or any file that is open for reading and can be sought in.

    Raises:
        SourceError: The file is not there, or may not be read.
        UnusableVideo: The headers tell already that there is no usable video in it.
    """
    with open_picture(source) as picture:
        if picture is not None:
            return picture.headers
    with open_film(source) as film:
        return film.headers


Crop = tuple[int, int, int, int]
"""A part of a picture: x, y, width, height in whole pixels."""


class Frames(ABC):
    """A sequence of pictures at a constant rate."""

    @abstractmethod
    def __iter__(self) -> Iterator[np.ndarray]: ...

    @abstractmethod
    def __len__(self) -> int: ...

    def batches(self, n: int) -> Iterator[np.ndarray]:
        """Yield the frames in arrays of shape (n, H, W, 3); the last may be shorter.

        Raises:
            ValueError: ``n`` is less than 1.
        """
        if n < 1:
            raise ValueError(f"a batch of {n} frames: at least 1 is needed")
        batch: list[np.ndarray] = []
        for frame in self:
            batch.append(frame)
            if len(batch) == n:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)


class SourceFrames(Frames):
    """Upright frames of a source, with square pixels, at a constant rate.

    A film keeps its rate; one whose rate varies is sampled by its timestamps (see
    `stages.schedule.Schedule`). A still picture is a clip of ``image_repeat`` equal frames
    at 25 a second.

    Decoded frames are kept as the decoder gave them (4:2:0 planes, half the bytes of RGB)
    and converted whenever they are asked for: conversion runs at 800 to 10,000 frames/s
    for 720p to 512x512, decoding at 300 to 1,200 (one core, the clips of shared/media).

    Args:
        path: Local file.
        budget: Bytes of decoded frames to keep at most.
        image_repeat: Frames that a still picture becomes.
        max_corrupt: Damaged frames that are put up with; the frame before is shown
            in their place.
        facts: The facts of an earlier full decode, if there was one. They save another
            where only they are asked for, and overrule ``image_repeat`` and ``max_corrupt``.
    """

    def __init__(
        self,
        path: Path,
        *,
        budget: int,
        image_repeat: int = IMAGE_REPEAT,
        max_corrupt: int = 0,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        if image_repeat < 1 or max_corrupt < 0 or budget < 0:
            raise ValueError(
                f"image_repeat={image_repeat} (1 or more), max_corrupt={max_corrupt} and"
                f" budget={budget} (0 or more) make no sense"
            )
        self.path = path
        self._budget = budget
        self._facts = dict(facts) if facts else None
        self._image_repeat = (facts and facts["image_repeat"]) or image_repeat
        self._max_corrupt = facts["corrupt"] if facts else max_corrupt
        self._kept: list[VideoFrame | np.ndarray] | None = None
        self._upright: Upright | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What a full decode of the source has found; decodes it where nobody has yet.

        Keys: ``container``, ``codec``, ``pix_fmt``, ``bit_depth``, ``width``, ``height``
        (upright, square pixels), ``coded`` [w, h], ``sample_aspect`` "num/den",
        ``rotation`` (clockwise degrees), ``mirrored``, ``fps`` "num/den", ``frames``,
        ``duration`` (s), ``decoded`` (frames before they were laid on the schedule),
        ``repeated`` and ``dropped`` (by that), ``vfr`` (whether the rate varied), ``corrupt``
        (frames put up with), ``interlaced`` (deinterlaced), ``image_repeat`` (0 for films),
        ``audio``, and ``notes`` in words.

        Raises:
            SourceError: The file is not there, or may not be read.
            CorruptVideo: More frames are damaged than are put up with.
            UnusableVideo: There is no usable video in it.
        """
        if self._facts is None:
            for _ in self._decoded():
                pass
            assert self._facts is not None
        return self._facts

    @property
    def fps(self) -> Fraction:
        """Frames a second."""
        return Fraction(self.facts["fps"])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.facts["width"], self.facts["height"]

    def __len__(self) -> int:
        return int(self.facts["frames"])

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self._native():
            yield self._rgb(frame)

    def at(self, indices: Iterable[int]) -> list[np.ndarray]:
        """Just some frames, in the order asked for; see `pick`."""
        wanted = list(indices)
        found = dict(self.pick(wanted))
        return [found[index] for index in wanted]

    def pick(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Just some frames with their indices, one after the other, ascending, each once.

        They are equal to those of a full iteration. Nothing is sought for: open GOPs and
        streams without key frames would make a frame depend on where the decoder jumped in.
        Frames in between are decoded where they are not kept, but not converted.

        Raises:
            IndexError: There is no such frame; indices count from 0.
        """
        missing = set(indices)
        for index, frame in enumerate(self._native()):
            if index in missing:
                missing.remove(index)
                yield index, self._rgb(frame)
            if not missing:
                return
        raise IndexError(f"{self.path.name} has no frames {sorted(missing)}")

    def release(self) -> None:
        """Let go of the frames kept; they are decoded again if asked for."""
        self._kept = None

    def _rgb(self, frame: VideoFrame | np.ndarray) -> np.ndarray:
        if isinstance(frame, np.ndarray):
            return frame.copy()
        assert self._upright is not None
        return self._upright(frame)

    def _native(self) -> Iterator[VideoFrame | np.ndarray]:
        return iter(self._kept) if self._kept is not None else self._decoded()

    def _decoded(self) -> Iterator[VideoFrame | np.ndarray]:
        """One full decode; its frames are kept, and its facts learnt, when it ends."""
        with open_picture(self.path) as picture:
            if picture is not None:
                yield from self._still(picture)
                return
        with open_film(self.path) as film:
            yield from self._film(film)

    def _still(self, picture: Picture) -> Iterator[np.ndarray]:
        rgb = picture.rgb()
        frames = [rgb] * self._image_repeat
        yield from frames
        self._kept = list(frames)
        height, width = rgb.shape[:2]
        self._facts = _facts(picture.headers, width, height, len(frames)) | {
            "pix_fmt": picture.image.mode,
            "image_repeat": self._image_repeat,
        }

    def _film(self, film: Film) -> Iterator[VideoFrame]:
        schedule = Schedule[VideoFrame](film.headers.rate)
        kept: list[VideoFrame | np.ndarray] | None = []
        last: VideoFrame | None = None
        weight = 0
        orientation = Orientation()
        try:
            for frame in schedule.lay(film.frames()):
                if last is None:
                    orientation = Orientation.of(frame)
                    self._upright = Upright(film.headers.width, film.headers.height, orientation)
                    self._upright(frame)  # a format that cannot be converted shows at once
                if kept is not None:
                    kept.append(frame)
                    if frame is not last:
                        weight += sum(plane.buffer_size for plane in frame.planes)
                    if weight > self._budget:
                        kept = None
                last = frame
                yield frame
        except TimestampError as error:
            raise UnusableVideo(str(error)) from error
        except FFmpegError as error:
            raise UnusableVideo(f"its frames cannot be converted ({error.strerror})") from error
        tally = film.tally
        if tally.corrupt > self._max_corrupt:
            corrupt = min(tally.corrupt, tally.packets)
            raise CorruptVideo(
                f"{corrupt} of {tally.packets} frames are corrupt or follow a corrupt one;"
                f" the first at {tally.first:.2f} s",
                {"packets": tally.packets, "corrupt": corrupt, "first_corrupt": tally.first},
            )
        if last is None:
            raise UnusableVideo("no frame of it can be decoded")
        self._kept = kept
        width, height = orientation.size(film.headers.width, film.headers.height)
        self._facts = _facts(film.headers, width, height, schedule.ticks) | {
            "pix_fmt": last.format.name,
            "bit_depth": last.format.components[0].bits,
            "rotation": orientation.degrees,
            "mirrored": orientation.mirrored,
            "decoded": tally.frames,
            "repeated": schedule.repeated,
            "dropped": schedule.dropped,
            "vfr": not schedule.even,
            "corrupt": tally.corrupt,
            "interlaced": tally.interlaced > 0,
            "notes": _notes(film),
        }


def _facts(headers: Headers, width: int, height: int, frames: int) -> dict[str, Any]:
    return {
        "container": headers.container,
        "codec": headers.codec,
        "pix_fmt": "",
        "bit_depth": 8,
        "width": width,
        "height": height,
        "coded": list(headers.coded),
        "sample_aspect": _ratio(headers.sample_aspect),
        "rotation": 0,
        "mirrored": False,
        "fps": _ratio(headers.rate),
        "frames": frames,
        "duration": round(float(frames / headers.rate), 6),
        "decoded": 1,
        "repeated": 0,
        "dropped": 0,
        "vfr": False,
        "corrupt": 0,
        "interlaced": False,
        "image_repeat": 0,
        "audio": headers.audio,
        "notes": [],
    }


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _notes(film: Film) -> list[str]:
    """What a person should know that the other facts do not tell."""
    promised, real = film.headers.frames, film.tally.packets
    notes = []
    if promised and abs(promised - real) > max(2, real // 50):
        notes.append(f"the header promises {promised} frames, {real} are there")
    if film.tally.hidden:
        notes.append(f"its edit list leaves out {film.tally.hidden} frames")
    if film.stream.codec_context.color_trc in HDR_TRANSFERS:
        notes.append("its brightness is high dynamic range, and taken as it is")
    if film.tally.interlaced:
        notes.append(f"{film.tally.interlaced} interlaced frames were made progressive")
    return notes


class PortraitFrames(Frames):
    """Frames of the normal form: a static crop of the source, resized to a square.

    Kept as RGB within the budget; once all of them are, the source lets go of its own.
    The crop may reach outside the picture, whose border is then repeated. One OpenCV call
    a frame resizes: 720 to 512 pixels cubic in 1.1 ms; by areas it would take 7.

    Args:
        source: Where the frames come from.
        frame_facts: Facts of the frame stage: ``crop`` [x, y, w, h] in whole source pixels,
            ``size`` of the square.
        budget: Bytes of frames to keep at most.
    """

    def __init__(
        self, source: SourceFrames, frame_facts: Mapping[str, Any], *, budget: int
    ) -> None:
        x, y, w, h = frame_facts["crop"]
        if any(value != round(value) for value in (x, y, w, h)) or min(w, h) < 1:
            raise ValueError(f"crop {[x, y, w, h]}: whole pixels and a positive size are needed")
        self._source = source
        self._budget = budget
        self._kept: list[np.ndarray] | None = None
        self.crop = (int(x), int(y), int(w), int(h))
        self.size = int(frame_facts["size"])

    @property
    def transform(self) -> np.ndarray:
        """Affine map of source pixels to pixels of the normal form, (2, 3) float64.

        Both use pixel indices: the centre of pixel i lies at coordinate i, its left edge
        at i - 1/2. So the crop's left edge, x - 1/2, goes to -1/2.
        """
        return crop_transform(self.crop, self.size)

    @property
    def fps(self) -> Fraction:
        """Frames a second: the source's."""
        return self._source.fps

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[np.ndarray] | None = []
        for frame in self._source:
            portrait = cut_portrait(frame, self.crop, self.size)
            if kept is not None:
                kept.append(portrait)
                if len(kept) * portrait.nbytes > self._budget:
                    kept = None
            yield portrait
        if kept is not None:
            self._kept = kept
            self._source.release()


def crop_transform(crop: Crop, size: int) -> np.ndarray:
    """See `PortraitFrames.transform`."""
    x, y, w, h = crop
    sx, sy = size / w, size / h
    return np.array([[sx, 0.0, (0.5 - x) * sx - 0.5], [0.0, sy, (0.5 - y) * sy - 0.5]], np.float64)


def cut_portrait(frame: np.ndarray, crop: Crop, size: int) -> np.ndarray:
    """The normal form of one frame: see `PortraitFrames`.

    Args:
        frame: (H, W, 3) uint8.
        crop: x, y, w, h in whole pixels; it may reach outside, where the border is repeated.
        size: Side of the result.

    Returns:
        (size, size, 3) uint8; never a view.
    """
    x, y, w, h = crop
    height, width = frame.shape[:2]
    inside = frame[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)]
    if inside.shape[:2] != (h, w):
        inside = cv2.copyMakeBorder(
            inside,
            top=max(-y, 0),
            bottom=max(y + h - height, 0),
            left=max(-x, 0),
            right=max(x + w - width, 0),
            borderType=cv2.BORDER_REPLICATE,
        )
    # Four taps alias visibly once they span less than about three target pixels.
    if max(w, h) > 1.5 * size:
        # OpenCV averages areas only where neither side grows; one that must does so below.
        shrunk = (min(w, size), min(h, size))
        inside = cv2.resize(inside, shrunk, interpolation=cv2.INTER_AREA)
    # A copy at least: a view would keep all of the source's frame in memory.
    return cv2.resize(inside, (size, size), interpolation=cv2.INTER_CUBIC)
