"""Random access to a film of a release.

A film in the normal form (see `stages.encode`) has no B-frames and a key frame every few
frames, and the MP4's index says where each packet lies. So a frame is reached by arithmetic: the
packets from the key frame before it up to its own go into the decoder, one picture comes out
for each, and nothing is sought, demuxed or guessed.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from infra.errors import LakeError


class NormalFilm:
    """One film of the normal form, in memory; use as a context manager.

    Args:
        data: The MP4 file's bytes.
        grey: Give luma alone, as it was written by `stages.encode.GreyWriter`.

    Raises:
        LakeError: It is no MP4 with a film in it.
    """

    def __init__(self, data: bytes, *, grey: bool = False) -> None:
        self._data = data
        try:
            # No decoder for the demuxer, which would try it on a frame to learn what we know.
            options = {"codec_whitelist": "none"}
            self._container = av.open(io.BytesIO(data), format="mp4", container_options=options)
            self._codec = self._container.streams.video[0].codec_context
            entries = self._container.streams.video[0].index_entries
        except (FFmpegError, IndexError) as error:
            raise LakeError(f"a film of {len(data)} bytes cannot be read: {error}") from error
        self._codec.thread_count = 1
        self._places = [(entry.pos, entry.size) for entry in entries]
        keys = [i if entry.is_keyframe else 0 for i, entry in enumerate(entries)]
        self._keys = np.maximum.accumulate(np.array(keys, int)).tolist()
        self._next = -1  # the frame that the decoder is ready for; none at first
        self._channels = 1 if grey else 3
        self._reformatter = VideoReformatter()

    def __len__(self) -> int:
        """Frames."""
        return len(self._places)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Pictures at ``indices``, in that order: uint8 (n, H, W, 3), or (n, H, W) if grey.

        Raises:
            IndexError: There is no such frame; indices count from 0.
            LakeError: It cannot be decoded, or is no film of the normal form.
        """
        if not all(0 <= index < len(self) for index in indices):
            raise IndexError(f"frames {list(indices)} of a film of {len(self)}")
        size = (self._codec.height, self._codec.width)
        pictures = np.empty((len(indices), *size, self._channels), np.uint8)
        last, pixels = -1, pictures[:0]
        for index, slot in sorted(zip(indices, range(len(indices)), strict=True)):
            if index != last:
                last, pixels = index, self._pixels(self._frame(index))
            pictures[slot] = pixels
        return pictures if self._channels > 1 else pictures[..., 0]

    def skim(self, indices: Iterable[int]) -> None:
        """Decode what rising ``indices`` need, and leave it at that: what reading costs at least.

        Raises:
            LakeError: A frame cannot be decoded.
        """
        for index in indices:
            self._frame(index)

    def _frame(self, index: int) -> VideoFrame:
        """Decode up to a frame, from where the decoder is or from the nearest key frame."""
        key = self._keys[index]
        start = self._next if key <= self._next <= index else key
        if start != self._next:
            self._codec.flush_buffers()
        self._next = -1  # until all has gone well
        try:
            *_, last = self._decode(range(start, index + 1))
        except FFmpegError as error:
            raise LakeError(f"frame {index} cannot be decoded: {error}") from error
        self._next = index + 1
        return last

    def _decode(self, indices: range) -> Iterator[VideoFrame]:
        for index in indices:
            offset, size = self._places[index]
            packet = av.Packet(self._data[offset : offset + size])
            packet.pts = packet.dts = index
            frames = self._codec.decode(packet)
            if [frame.pts for frame in frames] != [index]:
                raise LakeError(
                    f"packet {index} does not give frame {index} alone: the film has B-frames"
                )
            yield frames[0]

    def _pixels(self, frame: VideoFrame) -> np.ndarray:
        """A view (H, W, channels), uint8, of luma, or of RGB as `stages.upright` makes it."""
        if self._channels > 1:
            frame = self._reformatter.reformat(
                frame, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1
            )
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        wide = rows[: frame.height, : frame.width * self._channels]
        return wide.reshape(frame.height, frame.width, self._channels)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._container.close()
