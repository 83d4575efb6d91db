"""What a run says of itself: figures of every step, as JSON lines and for TensorBoard.

All ranks measure; what they measured is put together in one collective a step, in which all of
them take part; rank 0 writes.
"""

import json
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.loop.folder import RunFolder, cut_log

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_PICTURED = ("kind", "step")


class RunLog:
    """``log.jsonl`` and TensorBoard, written by one rank; on the others it does nothing.

    Args:
        folder: The run's.
        step: Steps done so far: what is there of later ones is forgotten, as they come again.
        writes: Whether this rank is the one that writes.
    """

    def __init__(self, folder: RunFolder, *, step: int, writes: bool) -> None:
        self._board: SummaryWriter | None = None
        self._file = None
        if not writes:
            return
        from torch.utils.tensorboard import SummaryWriter

        folder.root.mkdir(parents=True, exist_ok=True)
        cut_log(folder.log, step)
        self._file = folder.log.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder.tensorboard), purge_step=step + 1)

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append a line; its numbers go to TensorBoard as ``kind/name``.

        Args:
            kind: ``start``, ``step``, ``validation`` or ``event``.
            step: Steps done when it happened.
            **values: What is told. What is None is left out.
        """
        if self._file is None or self._board is None:
            return
        told = {name: value for name, value in values.items() if value is not None}
        self._file.write(json.dumps({"kind": kind, "step": step, **told}) + "\n")
        self._file.flush()
        for name, value in told.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """Show a picture, uint8 (H, W, 3), in TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, picture, step, dataformats="HWC")
            self._board.flush()

    def close(self) -> None:
        """Write what is still held back."""
        if self._file is not None and self._board is not None:
            self._file.close()
            self._board.close()
