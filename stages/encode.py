"""Writing video in the normal form, and lossless grey video, with PyAV and x264.

Both kinds are made for random access and for being the same bytes every time: constant
rate, one thread, closed groups of pictures without B-frames or scene cuts, no dates and
no random identifiers. Every file says which colours it means.

They are written once and read thousands of times, so bytes are spent on easy decoding:
Huffman-like codes (CAVLC) for arithmetic ones (CABAC) cost 8% more of them in video, 14% in
masks, and decode in two thirds, and in less than half, of the time.
"""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

_BT709_MATRIX = 1
"""AVCOL_SPC_BT709: the tag's number; swscale's own for the same matrix is `Colorspace`."""


class _H264Writer:
    """One H.264 stream in an MP4 file; frames are written one by one.

    Use as a context manager: only a clean exit makes a whole file.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        fps: Fraction,
        pix_fmt: str,
        color_range: ColorRange,
        options: dict[str, str],
        gop: int,
    ) -> None:
        width, height = size
        if width < 2 or height < 2 or width % 2 or height % 2:
            raise ValueError(f"a video of {width}x{height}: even sizes of at least 2 are needed")
        self.frames = 0
        self._shape = (height, width)
        self._container = av.open(
            f"file:{path}",
            "w",
            format="mp4",
            container_options={"movflags": "+faststart", "fflags": "+bitexact"},
        )
        self._stream = self._container.add_stream("libx264", rate=fps, options=options)
        codec = self._stream.codec_context
        codec.width, codec.height, codec.pix_fmt = width, height, pix_fmt
        codec.time_base = 1 / fps
        codec.thread_count = 1
        codec.gop_size = gop
        codec.max_b_frames = 0
        codec.flags |= av.codec.context.Flags.bitexact | av.codec.context.Flags.closed_gop
        codec.color_range = color_range
        codec.color_primaries = ColorPrimaries.BT709
        codec.color_trc = ColorTrc.BT709
        codec.colorspace = _BT709_MATRIX

    def _encode(self, frame: VideoFrame) -> None:
        frame.pts = self.frames
        frame.time_base = self._stream.codec_context.time_base
        self.frames += 1
        self._container.mux(self._stream.encode(frame))

    def _check(self, array: np.ndarray, shape: tuple[int, ...]) -> None:
        if array.shape != shape or array.dtype != np.uint8:
            raise ValueError(
                f"a frame of shape {array.shape}, {array.dtype}: {shape}, uint8 is needed"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


def _x264(preset: str, gop: int, more: str, **quality: str) -> dict[str, str]:
    structure = f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes=0:cabac=0"
    return {"preset": preset, "x264-params": structure + more, **quality}


# Blocks between frames are not divided: encodes in a quarter less time for 1 to 4% more bytes.
# Edges of blocks are smoothed from a quantiser of about 26 on: below, at 45 dB and more, they
# do not show (it would gain 0.03 to 0.4 dB), and frames decode in a quarter less time.
_FAST = ":analyse=i4x4,i8x8:deblock=-5,-5"


class VideoWriter(_H264Writer):
    """Writes RGB frames as H.264, 4:2:0, BT.709 limited range, so tagged.

    Args:
        path: The MP4 file to be made.
        size: Width and height, both even.
        fps: Exact frame rate.
        crf: Constant rate factor of x264, 0..51.
        preset: Preset of x264.
        gop: Frames from key frame to key frame.
        drawing: No photograph: coarser search for motion, which encodes in two thirds of the
            time for 8% more bytes.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        fps: Fraction,
        crf: int = 18,
        preset: str = "veryfast",
        gop: int = 16,
        drawing: bool = False,
    ) -> None:
        super().__init__(
            path,
            size=size,
            fps=fps,
            pix_fmt="yuv420p",
            color_range=ColorRange.MPEG,
            options=_x264(preset, gop, _FAST + (":subme=1" if drawing else ""), crf=str(crf)),
            gop=gop,
        )
        self._reformatter = VideoReformatter()

    def write(self, frame: np.ndarray) -> None:
        """Append a frame of shape (H, W, 3), uint8, RGB.

        Raises:
            ValueError: Shape or type is another.
        """
        self._check(frame, (*self._shape, 3))
        self._encode(
            self._reformatter.reformat(
                VideoFrame.from_ndarray(frame, format="rgb24"),
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
                threads=1,
            )
        )


class GreyWriter(_H264Writer):
    """Writes 8-bit grey frames losslessly (H.264 monochrome, qp 0, tagged full range).

    Without the tag, readers take the values for limited range and stretch them: soft masks
    come back wrong by up to 20.

    Args:
        path: The MP4 file to be made.
        size: Width and height, both even.
        fps: Exact frame rate.
        preset: Preset of x264: decides size and speed, never the values.
        gop: Frames from key frame to key frame; every second costs 18% more bytes here than
            every sixteenth, and a training window decodes 26 frames rather than 68.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        fps: Fraction,
        preset: str = "veryfast",
        gop: int = 2,
    ) -> None:
        super().__init__(
            path,
            size=size,
            fps=fps,
            pix_fmt="gray",
            color_range=ColorRange.JPEG,
            options=_x264(preset, gop, "", qp="0"),
            gop=gop,
        )

    def write(self, frame: np.ndarray) -> None:
        """Append a frame of shape (H, W), uint8.

        Raises:
            ValueError: Shape or type is another.
        """
        self._check(frame, self._shape)
        grey = VideoFrame.from_ndarray(frame, format="gray")
        grey.color_range = ColorRange.JPEG
        self._encode(grey)
