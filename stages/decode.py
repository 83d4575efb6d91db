"""Opening and decoding films with PyAV: safely, and missing no corruption."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from io import FileIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

import av
from av.container import InputContainer
from av.error import EOFError as AvEOFError
from av.error import FFmpegError
from av.filter import Graph
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infra.errors import SourceError
from stages.schedule import nominal_rate

# Playlists (hls, dash, concat, sdp, ...) are left out on purpose: they would have a
# "video" read other files, or the network.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo",
    "m4v", "h264", "hevc", "mjpeg", "flv", "ogg", "asf", "ivf", "nut", "yuv4mpegpipe", "dv",
    "gif", "apng", "webp",
)  # fmt: skip

MAX_PIXELS = 1 << 26
"""Pixels of a frame (8192 x 8192) beyond which no decoder is let loose: its memory
would be a matter of the header's honesty."""

MAX_ASPECT = 4
"""How many times as wide as tall (or the other way round) a pixel may be."""

# `explode` makes decoders give up where they would conceal; `crccheck` makes those look
# that have checksums. One thread: workers run one a core.
_DECODER = {"err_detect": "crccheck+explode", "max_pixels": str(MAX_PIXELS), "threads": "1"}


class UnusableVideo(Exception):  # noqa: N818 - a finding, not a failure of ours
    """The file holds no usable video; the message tells a person why.

    Args:
        reason: One sentence.
        facts: What was learnt nevertheless.
    """

    def __init__(self, reason: str, facts: dict[str, Any] | None = None) -> None:
        super().__init__(reason, facts)
        self.reason = reason
        self.facts = facts or {}

    def __str__(self) -> str:
        return self.reason


class CorruptVideo(UnusableVideo):
    """Packets are damaged or missing; ``facts`` counts them (corrupt, frames, first_corrupt)."""


@dataclass(frozen=True)
class Headers:
    """What the headers claim; nothing of it is verified.

    Attributes:
        container: Name of the container format.
        codec: Name of the video codec.
        width: Width with square pixels, before rotation.
        height: Height with square pixels, before rotation.
        coded: Width and height as coded.
        sample_aspect: Width over height of a coded pixel.
        rate: Frames a second (see `stages.schedule.nominal_rate`).
        frames: Number of frames, estimated where the container does not count them.
        duration: Seconds; 0 if unknown.
        audio: Codec, sample rate and channels of the first sound stream, if there is one.
    """

    container: str
    codec: str
    width: int
    height: int
    coded: tuple[int, int]
    sample_aspect: Fraction
    rate: Fraction
    frames: int
    duration: float
    audio: dict[str, Any] | None = None


@dataclass
class Tally:
    """What a decode has met so far.

    Attributes:
        frames: Frames decoded and sound.
        corrupt: Frames flagged as damaged, and packets that gave none.
        first: Seconds from the start to the first of these.
        interlaced: Frames made of two fields.
    """

    frames: int = 0
    corrupt: int = 0
    first: float = 0.0
    interlaced: int = 0

    def damage(self, seconds: float) -> None:
        """Count a frame that is damaged."""
        self.first = self.first if self.corrupt else seconds
        self.corrupt += 1


@dataclass
class Film:
    """An opened film: its container, the stream that is looked at, and its headers."""

    container: InputContainer
    stream: VideoStream
    headers: Headers
    tally: Tally = field(default_factory=Tally)

    def frames(self) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Decode all frames in the order of showing, each with its time in seconds.

        Edit lists are respected (FFmpeg drops what they leave out). A damaged frame is
        counted in :attr:`tally` and left out. Interlaced frames are made progressive.

        Raises:
            CorruptVideo: The file breaks off.
            UnusableVideo: The picture changes its size.
        """
        first: VideoFrame | None = None
        for frame, time in self._deinterlaced():
            first = first or frame
            if (frame.width, frame.height) != (first.width, first.height):
                raise UnusableVideo(
                    f"its picture changes from {first.width}x{first.height} to"
                    f" {frame.width}x{frame.height} after {float(time):.2f} s"
                )
            yield frame, time

    def _decoded(self) -> Iterator[tuple[VideoFrame, Fraction]]:
        base = self.stream.time_base or Fraction(1, 90_000)
        start = (self.stream.start_time or 0) * base
        expected = Fraction(0)  # when the next frame is due, for streams without timestamps
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                raise CorruptVideo(
                    f"it breaks off at {float(expected):.2f} s: {self.tally.frames} of"
                    f" {self.headers.frames} frames are there",
                    {"frames": self.tally.frames, "first_corrupt": float(expected)},
                ) from error
            if packet is None:
                return
            try:
                frames = packet.decode()
            except AvEOFError:
                continue
            except FFmpegError:
                if not packet.is_discard:
                    at = expected if packet.pts is None else packet.pts * base - start
                    self.tally.damage(float(at))
                continue
            for frame in frames:
                # AVI and raw streams know only the order of decoding.
                stamp = frame.pts if frame.pts is not None else frame.dts
                time = expected if stamp is None else stamp * base - start
                expected = time + 1 / self.headers.rate
                if frame.is_corrupt:
                    self.tally.damage(float(time))
                    continue
                self.tally.frames += 1
                self.tally.interlaced += frame.interlaced_frame
                yield frame, time

    def _deinterlaced(self) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Send everything from the first interlaced frame on through `bwdif`."""
        graph: Graph | None = None
        times: list[Fraction] = []  # of the frames inside the filter, which looks one ahead
        for frame, time in self._decoded():
            if graph is None and frame.interlaced_frame:
                graph = _deinterlacer(frame)
            if graph is None:
                yield frame, time
                continue
            times.append(time)
            frame.pts, frame.time_base = len(times), Fraction(1, 25)
            graph.vpush(frame)
            yield from self._drain(graph, times)
        if graph is not None:
            graph.vpush(None)
            yield from self._drain(graph, times)

    @staticmethod
    def _drain(graph: Graph, times: list[Fraction]) -> Iterator[tuple[VideoFrame, Fraction]]:
        while True:
            try:
                frame = graph.vpull()
            except (BlockingIOError, AvEOFError):
                return
            yield frame, times.pop(0)


def _deinterlacer(frame: VideoFrame) -> Graph:
    """A graph that makes one frame out of each two fields, and leaves other frames alone."""
    graph = Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=Fraction(1, 25),
        ),
        graph.add("bwdif", mode="send_frame", deint="interlaced"),
        graph.add("buffersink"),
    ).configure()
    return graph


@contextmanager
def open_file(path: Path) -> Iterator[FileIO]:
    """Open a regular file for reading.

    FFmpeg gets the opened file, never its name: a name may look like a protocol
    (``http:``), an option, or a pattern of names.

    Raises:
        SourceError: It is not there, or may not be read.
        UnusableVideo: It is empty, or something else than a regular file.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(
            f"{os.fspath(path)!r} cannot be read: {why}",
            hint="check that it exists and may be read, then run the same command again",
        ) from error
    with FileIO(handle) as file:
        state = os.fstat(handle)
        if not S_ISREG(state.st_mode):
            kind = "a folder" if S_ISDIR(state.st_mode) else "a pipe, socket or device"
            raise UnusableVideo(f"it is {kind}, not a file")
        if state.st_size == 0:
            raise UnusableVideo("the file is empty")
        yield file


@contextmanager
def open_film(path: Path) -> Iterator[Film]:
    """Open a film and read its headers.

    Raises:
        SourceError: The file is not there, or may not be read.
        UnusableVideo: There is no video in it, none that can be decoded here, or its
            frames are beyond all measure.
    """
    with open_file(path) as file:
        try:
            container = av.open(
                file,
                "r",
                options=dict(_DECODER),
                container_options={"format_whitelist": ",".join(_CONTAINERS)},
                metadata_errors="replace",
            )
        except FFmpegError as error:
            raise UnusableVideo(
                f"no video format is recognised in it ({error.strerror})"
            ) from error
        with container:
            stream = _video_stream(container)
            stream.codec_context.options = dict(_DECODER)
            stream.codec_context.thread_count = 1
            yield Film(container, stream, _headers(container, stream))


def _video_stream(container: InputContainer) -> VideoStream:
    """The first stream that is a film, and not the cover picture of a song."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise UnusableVideo("its video codec is not known here")
            return stream
    others = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise UnusableVideo(f"it has no video stream (it holds {others})")


def _headers(container: InputContainer, stream: VideoStream) -> Headers:
    codec = stream.codec_context
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if codec.width <= 0 or codec.height <= 0:
        raise UnusableVideo("its picture has no size: no frame was found in it")
    if codec.width * codec.height > MAX_PIXELS:
        raise UnusableVideo(
            f"its header asks for frames of {codec.width}x{codec.height}, more than"
            f" {MAX_PIXELS} pixels"
        )
    if not Fraction(1, MAX_ASPECT) <= aspect <= MAX_ASPECT:
        raise UnusableVideo(
            f"its pixels would be {float(aspect):.3g} times as wide as tall"
            f" (allowed are 1/{MAX_ASPECT} to {MAX_ASPECT})"
        )
    rate = nominal_rate(stream.average_rate, stream.base_rate)
    duration = 0.0
    if stream.duration and stream.time_base:
        duration = float(stream.duration * stream.time_base)
    elif container.duration:
        duration = container.duration / av.time_base
    audio = None
    if container.streams.audio:
        sound = container.streams.audio[0]
        if sound.codec_context is not None:
            audio = {
                "codec": sound.codec_context.name,
                "rate": sound.rate,
                "channels": sound.channels,
            }
    return Headers(
        container=container.format.name,
        codec=codec.name,
        # The longer side is stretched, so that no line is lost.
        width=round(codec.width * max(aspect, Fraction(1))),
        height=round(codec.height / min(aspect, Fraction(1))),
        coded=(codec.width, codec.height),
        sample_aspect=aspect,
        rate=rate,
        frames=stream.frames or max(round(duration * rate), 0),
        duration=max(duration, 0.0),
        audio=audio,
    )
