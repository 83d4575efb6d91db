"""Sound of a clip, kept beside its video."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from stages.decode import open_film

BIT_RATE = 128_000
"""Bits a second of sound that has to be encoded."""


def save_sound(source: Path, target: Path, *, duration: Fraction) -> str | None:
    """Write a film's first sound stream as AAC in an MP4 file, from its first frame on.

    AAC is copied packet by packet; anything else is encoded.

    Args:
        source: The film.
        target: The ``.m4a`` file to be made.
        duration: Seconds to keep, counted from the first video frame.

    Returns:
        ``"copied"`` or ``"encoded"``; None where there is no sound, or none that can be
        read, and then no file either.

    Raises:
        SourceError: The source is not there, or may not be read.
        UnusableVideo: The source is no film.
    """
    with open_film(source) as film:
        sound = next((s for s in film.container.streams.audio if s.codec_context), None)
        if sound is None:
            return None
        base = film.stream.time_base or Fraction(1)
        start = (film.stream.start_time or 0) * base
        copy = sound.codec_context.name == "aac"
        with av.open(
            f"file:{target}",
            "w",
            format="mp4",
            container_options={"movflags": "+faststart", "fflags": "+bitexact"},
        ) as output:
            write = _copy if copy else _encode
            try:
                written = write(film.container, sound, output, start, start + duration)
            except (FFmpegError, ValueError) as error:
                if getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
                    # That is the disk's trouble, and says nothing of the sound.
                    raise
                written = 0
    if not written:
        target.unlink(missing_ok=True)
        return None
    return "copied" if copy else "encoded"


def add_sound(video: Path, sound: Path | None, target: Path) -> None:
    """Put a film and its sound into one MP4 file; nothing is encoded again.

    Args:
        video: A film as `stages.encode` writes it.
        sound: What `save_sound` made; None for none.
        target: The file to be made.
    """
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with ExitStack() as stack:
        files = [video] if sound is None else [video, sound]
        inputs = [stack.enter_context(av.open(f"file:{path}")) for path in files]
        output = stack.enter_context(
            av.open(f"file:{target}", "w", format="mp4", container_options=options)
        )
        sources = [(container, container.streams[0]) for container in inputs]
        streams = [output.add_stream_from_template(stream) for _, stream in sources]
        packets = (_timed(*source, to) for source, to in zip(sources, streams, strict=True))
        # In the order of time, so that a player need not jump about in the file.
        for _, packet, to in merge(*packets, key=lambda timed: timed[0]):
            packet.stream = to
            output.mux(packet)


def _timed(
    container: InputContainer, stream: Stream, to: Stream
) -> Iterator["tuple[Fraction, Packet[Any], Stream]"]:
    """Packets of a stream, when each is decoded, and the stream that they go to."""
    for packet in container.demux(stream):
        if packet.dts is not None:
            yield packet.dts * packet.time_base, packet, to


def _copy(
    source: InputContainer,
    sound: AudioStream,
    output: OutputContainer,
    start: Fraction,
    end: Fraction,
) -> int:
    """Copy the packets that begin in [start, end); return how many there were."""
    stream = output.add_stream_from_template(sound)
    base = sound.time_base or Fraction(1, sound.rate)
    shift = round(start / base)
    written = 0
    for packet in source.demux(sound):
        if packet.pts is None or packet.pts < shift:
            continue
        if packet.pts * base >= end:
            break
        packet.pts -= shift
        packet.dts = packet.pts
        packet.stream = stream
        output.mux(packet)
        written += 1
    return written


def _encode(
    source: InputContainer,
    sound: AudioStream,
    output: OutputContainer,
    start: Fraction,
    end: Fraction,
) -> int:
    """Encode the frames that begin in [start, end) as AAC; return how many there were."""
    rates = av.Codec("aac", "w").audio_rates or []
    rate = sound.rate if sound.rate in rates else 48_000
    layout = "mono" if sound.channels == 1 else "stereo"
    stream = output.add_stream("aac", rate=rate, layout=layout)
    stream.codec_context.bit_rate = BIT_RATE
    stream.codec_context.flags |= av.codec.context.Flags.bitexact
    resampler = AudioResampler(format="fltp", layout=layout, rate=rate)

    def put(frame: AudioFrame | None) -> None:
        for piece in resampler.resample(frame):
            piece.pts = None  # the encoder counts samples from the first one
            output.mux(stream.encode(piece))

    written = 0
    for frame in source.decode(sound):
        time = (frame.pts or 0) * (frame.time_base or Fraction(1, sound.rate))
        if time < start:
            continue
        if time >= end:
            break
        put(frame)
        written += 1
    if written:
        put(None)
        output.mux(stream.encode(None))
    return written
