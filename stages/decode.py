"""Opening and decoding films with PyAV: safely, and missing no corruption."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import EOFError as AvEOFError
from av.error import FFmpegError, InvalidDataError
from av.filter import Graph
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stages.bitstream import has_hole, length_size
from stages.media import MAX_PIXELS, CorruptVideo, Headers, UnusableVideo, open_file
from stages.schedule import nominal_rate

# Playlists (hls, dash, concat, sdp, ...) are left out on purpose: they would have a
# "video" read other files, or the network.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo",
    "m4v", "h264", "hevc", "mjpeg", "flv", "ogg", "asf", "ivf", "nut", "yuv4mpegpipe", "dv",
    "gif", "apng", "webp",
)  # fmt: skip

MAX_ASPECT = 4
"""How many times as wide as tall (or the other way round) a pixel may be."""

# `explode` makes decoders give up where they would conceal; `crccheck` makes those look
# that have checksums. One thread: workers run one a core.
_DECODER = {"err_detect": "crccheck+explode", "max_pixels": str(MAX_PIXELS), "threads": "1"}


@dataclass
class Tally:
    """What a decode has met so far.

    Attributes:
        packets: Packets read.
        hidden: Those among them that an edit list leaves out.
        frames: Frames decoded and sound.
        corrupt: Frames damaged, those after them up to the next key frame, and packets that
            gave none.
        first: Seconds from the start to the first of these.
        interlaced: Frames made of two fields.
    """

    packets: int = 0
    hidden: int = 0
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
        tally, rate = self.tally, self.headers.rate
        base = self.stream.time_base or Fraction(1, 90_000)
        start = (self.stream.start_time or 0) * base
        due = Fraction(0)  # when the next frame is expected, for streams without timestamps
        broken = False
        for packet in self._packets():
            at = due if packet.pts is None else packet.pts * base - start
            try:
                frames = self._decode(packet)
            except FFmpegError:
                if not packet.is_discard:
                    tally.damage(float(at))
                    broken = True
                continue
            for frame in frames:
                # AVI and raw streams know only the order of decoding.
                stamp = frame.pts if frame.pts is not None else frame.dts
                time = due if stamp is None else stamp * base - start
                due = time + 1 / rate
                # Decoders pass off what builds on a damaged frame as sound; only a key
                # frame ends the damage.
                broken = frame.is_corrupt or (broken and not frame.key_frame)
                if broken:
                    tally.damage(float(time))
                    continue
                tally.frames += 1
                tally.interlaced += frame.interlaced_frame
                yield frame, time

    def _packets(self) -> Iterator["Packet[VideoStream]"]:
        """Read all packets, and an empty one at the end.

        Raises:
            CorruptVideo: Some that the index promises are not there.
        """
        tally, promised = self.tally, 0
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    tally.packets += 1
                    tally.hidden += packet.is_discard
                yield packet
            broken = False
        except FFmpegError:
            broken = True
        if self.headers.container.startswith("mov"):
            # Only here the index lists every packet, less what edit lists leave out.
            promised = sum(entry.size > 0 for entry in self.stream.index_entries)
        if broken or tally.packets < promised:
            last = tally.packets / float(self.headers.rate)
            raise CorruptVideo(
                f"it breaks off after {last:.2f} s: {tally.packets} of"
                f" {max(promised, self.headers.frames)} frames are there",
                {"packets": tally.packets, "first_corrupt": round(last, 3)},
            )

    def _decode(self, packet: "Packet[VideoStream]") -> list[VideoFrame]:
        if self._prefix and packet.size and has_hole(bytes(packet), self._prefix):
            raise InvalidDataError(0, "a hole of zeros")
        try:
            return packet.decode()
        except AvEOFError:
            return []

    @cached_property
    def _prefix(self) -> int:
        return length_size(self.headers.codec, self.stream.codec_context.extradata)

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
def open_film(source: Path | BinaryIO) -> Iterator[Film]:
    """Open a film and read its headers.

    Raises:
        SourceError: The file is not there, or may not be read.
        UnusableVideo: There is no video in it, none that can be decoded here, or its
            frames are beyond all measure.
    """
    with open_file(source) as file:
        try:
            container = av.open(
                file,
                "r",
                options=dict(_DECODER),
                container_options={"format_whitelist": ",".join(_CONTAINERS)},
                metadata_errors="replace",
            )
        except FFmpegError as error:
            raise UnusableVideo(_unrecognised(file)) from error
        with container:
            stream = _video_stream(container)
            stream.codec_context.options = dict(_DECODER)
            stream.codec_context.thread_count = 1
            yield Film(container, stream, _headers(container, stream))


def _unrecognised(file: BinaryIO) -> str:
    file.seek(0)
    if file.read(8)[4:] == b"ftyp":
        return "it begins like an MP4, but its index is missing or broken: it may be cut off"
    return "no video is recognised in it, or its beginning is damaged"


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
        duration = (container.duration - max(container.start_time or 0, 0)) / av.time_base
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
