"""What a run says of itself: figures of every step, as JSON lines and for TensorBoard.

Every rank measures; what they measured meets in one collective a step, in which all take part.
Rank 0 writes.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from infra.storage import lake_errors
from training.engine.distributed import World
from training.loop.folder import RunFolder, cut_log

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class RunLog:
    """``log.jsonl`` and TensorBoard, written by one rank; on the others it does nothing.

    Args:
        folder: The run's.
        step: Steps done so far: what is there of later ones is forgotten, as they come again.
        writes: Whether this rank is the one that writes.
    """

    def __init__(self, folder: RunFolder, *, step: int, writes: bool) -> None:
        self._board: SummaryWriter | None = None
        self._file: TextIO | None = None
        if writes:
            from torch.utils.tensorboard.writer import SummaryWriter as Board

            with lake_errors(folder.root):
                cut_log(folder.log, step)
                self._file = folder.log.open("a", encoding="utf-8")
                self._board = Board(str(folder.tensorboard), purge_step=step + 1 if step else 0)
        self._root = folder.root

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append a line; its numbers go to TensorBoard as ``kind/name``.

        Args:
            kind: ``start``, ``step``, ``validation``, ``lost`` or ``event``.
            step: Steps done when it happened.
            **values: What is told. What is None is left out.

        Raises:
            LakeError: The disk is full or read-only.
        """
        if self._file is None or self._board is None:
            return
        told = {name: value for name, value in values.items() if value is not None}
        with lake_errors(self._root):
            self._file.write(json.dumps({"kind": kind, "step": step, **told}) + "\n")
            self._file.flush()
            for name, value in told.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    self._board.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """Show a picture, uint8 (H, W, 3), in TensorBoard."""
        if self._board is not None:
            with lake_errors(self._root):
                self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is still held back.

        Raises:
            LakeError: The disk is full or read-only.
        """
        if self._file is not None and self._board is not None:
            with lake_errors(self._root), closing(self._board):
                self._file.close()


@dataclass(frozen=True)
class StepSums:
    """What the ranks measured of a step, put together.

    Attributes:
        full: Mean loss over the whole pictures.
        portrait: Mean loss within the portraits.
        wait: Share of the step's time that ranks waited for their samples, on average.
        memory: Most bytes that any rank has held so far.
        lost: Samples that turned out damaged, and were replaced, in this step.
        leave: Whether any rank was told to leave.
        unsaved: Whether a save of any rank is known to have gone wrong.
    """

    full: float
    portrait: float
    wait: float
    memory: int
    lost: int
    leave: bool
    unsaved: bool


class StepMeter:
    """Measures one step of this rank.

    Args:
        world: This rank's place.

    Attributes:
        seconds: Since the step began.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._began = time.perf_counter()
        self._waited = 0.0
        self._parts: dict[int, Tensor] = {}

    @property
    def seconds(self) -> float:
        """Since the step began."""
        return time.perf_counter() - self._began

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent within was spent waiting for samples."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    def note(self, position: int, full: Tensor, portrait: Tensor) -> None:
        """Keep a sample's losses; where a pass is repeated, the last ones count."""
        self._parts[position] = torch.stack([full.detach(), portrait.detach()])

    def sums(self, *, lost: int, leave: bool, unsaved: bool) -> StepSums:
        """Put together what all ranks measured; every rank calls it, once a step.

        Args:
            lost: Samples that this rank had to replace.
            leave: Whether this rank was told to leave.
            unsaved: Whether a save of this rank went wrong.
        """
        full, portrait = torch.stack(list(self._parts.values())).double().mean(0).tolist()
        wait = self._waited / self.seconds
        flags = float(leave), float(unsaved)
        mine = [full, portrait, wait, peak_memory(self._world), lost, *flags]
        told = torch.tensor(mine, dtype=torch.float64, device=self._world.device)
        every = [torch.empty_like(told) for _ in range(self._world.size)]
        dist.all_gather(every, told)
        table = torch.stack(every).cpu()
        mean, total, most = table.mean(0), table.sum(0), table.amax(0)
        return StepSums(
            full=float(mean[0]),
            portrait=float(mean[1]),
            wait=float(mean[2]),
            memory=int(most[3]),
            lost=int(total[4]),
            leave=bool(most[5]),
            unsaved=bool(most[6]),
        )


def peak_memory(world: World) -> int:
    """Most bytes that this rank has held: on its GPU, or else of the machine's memory."""
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
