"""One training sample, and several as a batch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class TrainingSample:
    """A sample as it is read: bytes, which travel between processes in a quarter of the room.

    Slot 0 of the F frames is the reference, the others are the window.

    Attributes:
        position: In the stream.
        key: Clip id.
        video: uint8 (F, S, S, 3), RGB; with `moments`, (1, S, S, 3): the reference alone.
        mask: bool (F, h, w), h = w = S / 8: which latents are the portrait's.
        shading: uint8 (F, S, S, 3).
        landmarks: uint8 (F, S, S, 3), keypoint maps; None where no adapter looks at them.
        moments: float (F, 2C, h, w), mean and standard deviation of the video's latents,
            unscaled, from the latent cache; None without.
        lost: (key, reason) of the samples that turned out damaged before this one took their
            place.
    """

    position: int
    key: str
    video: Tensor
    mask: Tensor
    shading: Tensor
    landmarks: Tensor | None = None
    moments: Tensor | None = None
    lost: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Shapes, not pixels."""
        return _shapes(self)


@dataclass(frozen=True)
class TrainingBatch:
    """B samples, as the network takes them.

    Attributes:
        positions: Of each, in the stream.
        keys: Clip ids.
        reference: float (B, 3, S, S), -1..1: slot 0 of the video.
        video: float (B, F, 3, S, S), -1..1; None where `moments` stand for it.
        mask: float (B, F, 1, h, w), 1 where the latent is the portrait's, else 0.
        shading: float (B, F, 3, S, S), 0..1.
        landmarks: float (B, F, 3, S, S), 0..1, or None.
        moments: float (B, F, 2C, h, w), or None.
        lost: (key, reason) of what was lost on the way.
    """

    positions: tuple[int, ...]
    keys: tuple[str, ...]
    reference: Tensor
    video: Tensor | None
    mask: Tensor
    shading: Tensor
    landmarks: Tensor | None = None
    moments: Tensor | None = None
    lost: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Shapes, not pixels."""
        return _shapes(self)

    def __len__(self) -> int:
        """B."""
        return len(self.positions)


def collate(
    samples: Sequence[TrainingSample],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> TrainingBatch:
    """Put samples into a batch; bytes become numbers where the batch is needed.

    Args:
        samples: At least one; all with moments, or none.
        device: Where the batch goes.
        dtype: Of its tensors.
    """

    def stacked(name: str) -> Tensor | None:
        each: list[Any] = [getattr(sample, name) for sample in samples]
        return None if each[0] is None else torch.stack(each).to(device, non_blocking=True)

    def pictures(name: str, low: float) -> Tensor | None:
        found = stacked(name)
        if found is None:
            return None
        first = found.movedim(-1, -3)  # as convolutions want them
        numbers = _room(first.shape, dtype, found.device)
        numbers.copy_(first).mul_((1 - low) / 255)
        return numbers.add_(low) if low else numbers

    video, mask, moments = pictures("video", -1.0), stacked("mask"), stacked("moments")
    shading = pictures("shading", 0.0)
    assert video is not None
    assert mask is not None
    assert shading is not None
    return TrainingBatch(
        positions=tuple(sample.position for sample in samples),
        keys=tuple(sample.key for sample in samples),
        reference=video[:, 0],
        video=video if moments is None else None,
        mask=mask.unsqueeze(2).to(dtype),
        shading=shading,
        landmarks=pictures("landmarks", 0.0),
        moments=None if moments is None else moments.to(dtype),
        lost=tuple(lost for sample in samples for lost in sample.lost),
    )


def _room(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An empty tensor; on the processor, in memory that NumPy has asked for.

    NumPy asks for huge pages, torch does not: the first touch of a batch would take longer than
    all that is done to it.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    memory = np.empty(shape.numel() * dtype.itemsize, np.uint8)
    return torch.from_numpy(memory).view(dtype).reshape(shape)


def as_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor of an array, which is copied only where torch needs it to be."""
    return torch.from_numpy(np.ascontiguousarray(array))


def _shapes(record: TrainingSample | TrainingBatch) -> str:
    values = ((each.name, getattr(record, each.name)) for each in fields(record))
    shown = (
        f"{name}={tuple(value.shape) if isinstance(value, Tensor) else repr(value)}"
        for name, value in values
    )
    return f"{type(record).__name__}({', '.join(shown)})"
