"""What the network is shown of a video: drawn once, kept on the disk, read as sampling asks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.recipe.tables import Stream

Picture = NDArray[np.uint8]


class _Drawn(NamedTuple):
    """Where the part of a drawing that is not black lies: in the file, and in the picture."""

    offset: int
    rows: slice
    columns: slice


class Drawings:
    """Drawings on black, in a file: of each, the box that is not black.

    A face fills about a sixth of its picture: that is 0.13 MB a frame at 512 pixels.

    Args:
        file: Open for writing and reading, empty.
        size: Side of the drawings.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._drawn: list[_Drawn] = []
        self._end = 0

    def add(self, drawing: Picture) -> None:
        """Append a drawing (size, size, 3)."""
        lit = drawing.max(axis=2)
        rows, columns = _span(lit.max(axis=1)), _span(lit.max(axis=0))
        box = np.ascontiguousarray(drawing[rows, columns])
        self._file.seek(self._end)
        self._file.write(box.data)
        self._drawn.append(_Drawn(self._end, rows, columns))
        self._end += box.nbytes

    def __len__(self) -> int:
        return len(self._drawn)

    def __getitem__(self, index: int) -> Picture:
        offset, rows, columns = self._drawn[index]
        drawing = np.zeros((self._size, self._size, 3), np.uint8)
        shape = rows.stop - rows.start, columns.stop - columns.start, 3
        self._file.seek(offset)
        data = self._file.read(int(np.prod(shape)))
        drawing[rows, columns] = np.frombuffer(data, np.uint8).reshape(shape)
        return drawing


def _span(lit: NDArray[Any]) -> slice:
    places = np.flatnonzero(lit)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


class DrawnConditions:
    """The driving streams of a video; see `training.diffusion.network.Conditions`.

    Slot 0 is the reference, as it is lit and posed itself; the clip's frames follow.

    Args:
        size: Side of the drawings.
        open_file: Opens an empty file for writing and reading, such as
            `tempfile.TemporaryFile`; one for each stream.

    Attributes:
        size: Side of the drawings.
    """

    def __init__(self, size: int, open_file: Callable[[], BinaryIO]) -> None:
        self.size = size
        self._open = open_file
        self._files: list[BinaryIO] = []
        self._streams: dict[Stream, Drawings] = {}

    def draw(
        self, stream: Stream, drawings: Iterable[Picture], each: Callable[[int], None] | None = None
    ) -> None:
        """Take a stream's drawings, the reference's first.

        Args:
            stream: Which.
            drawings: uint8 RGB (size, size, 3).
            each: Called with the number of drawings taken, after each.
        """
        file = self._open()
        self._files.append(file)
        kept = self._streams[stream] = Drawings(file, self.size)
        for drawing in drawings:
            kept.add(drawing)
            if each is not None:
                each(len(kept))

    def picture(self, stream: Stream, slot: int) -> Picture:
        """One drawing."""
        return self._streams[stream][slot]

    def __call__(self, frames: Sequence[int]) -> Mapping[Stream, Tensor]:
        """Pictures float32 (len(frames), 3, size, size) in [0, 1] of every stream."""
        return {
            stream: torch.stack([_unit(drawings[frame]) for frame in frames])
            for stream, drawings in self._streams.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()


def _unit(picture: Picture) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 255


def signed(picture: Picture) -> Tensor:
    """A picture (S, S, 3), uint8, as float32 (3, S, S) in [-1, 1]."""
    return _unit(picture) * 2 - 1


def unsigned(pictures: Tensor) -> list[Picture]:
    """Pictures (N, 3, S, S) in [-1, 1], clamped, as uint8 (S, S, 3) each."""
    levels = (pictures.float().clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).contiguous().cpu().numpy())
