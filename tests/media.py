"""Small moving films and sounds, encoded on the fly for tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = 96
FRAMES = 24


def picture_at(t: int, width: int = SIZE, height: int = SIZE) -> np.ndarray:
    """A moving picture: frame ``t``, (H, W, 3) uint8, with texture that codecs cannot skip."""
    y, x = np.mgrid[:height, :width]
    texture = np.random.default_rng(7).integers(0, 60, (height, width))
    waves = [128 + 60 * np.sin((x * (c + 1) + y * 2 + 9 * t) / 17) for c in range(3)]
    return np.clip(np.stack(waves, -1) + texture[..., None], 0, 255).astype(np.uint8)


def write_film(
    path: Path,
    *,
    frames: int = FRAMES,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (SIZE, SIZE),
    fps: Fraction = Fraction(25),
    times: list[Fraction] | None = None,
    container: str | None = None,
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    turn: tuple[float, bool] | None = None,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Encode a small moving film.

    Args:
        path: File to be made.
        frames: How many frames.
        codec: FFmpeg's name of the encoder.
        pix_fmt: Pixel format.
        size: Width and height.
        fps: Rate, and time base where ``times`` are given.
        times: Seconds of each frame, where they are not those of a constant rate.
        container: FFmpeg's name of the muxer, where the file name does not tell.
        options: Options of the encoder.
        aspect: Sample aspect ratio.
        turn: Display matrix: counterclockwise degrees, and whether mirrored.
        muxer: Options of the muxer.
    """
    width, height = size
    with av.open(str(path), "w", format=container, container_options=muxer or {}) as output:
        stream = output.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn is not None:
            stream.set_display_rotation(turn[0], hflip=turn[1])
        for t in range(frames):
            frame = av.VideoFrame.from_ndarray(picture_at(t, width, height), format="rgb24")
            if times is None:
                frame.pts, frame.time_base = t, 1 / fps
            else:
                frame.pts, frame.time_base = round(times[t] * 1000), Fraction(1, 1000)
            output.mux(stream.encode(frame))
        if frames:
            output.mux(stream.encode(None))
        else:
            output.start_encoding()
    return path


def write_sound(path: Path, codec: str, *, seconds: float = 0.5) -> Path:
    """Encode a hum."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=44_100, layout="mono")
        samples = stream.codec_context.frame_size or 1024
        for start in range(0, int(seconds * 44_100), samples):
            hum = np.sin(np.arange(start, start + samples) / 20)[None] * 0.3
            frame = av.AudioFrame.from_ndarray(hum.astype(np.float32), "fltp", layout="mono")
            frame.sample_rate, frame.pts = 44_100, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def plain(path: Path) -> list[np.ndarray]:
    """Frames as PyAV gives them, with nothing of ours in between."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
