"""Saves while training goes on: a step waits for one copy at most."""

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

from torch import Tensor

from infra.errors import LakeError, LimelightError
from infra.storage import fsync_path, lake_errors
from infra.threads import step_back
from training.checkpoint.commit import Place, write_checkpoint
from training.checkpoint.folder import attempt_token, sweep
from training.checkpoint.fragments import Fragment
from training.checkpoint.packing import HostMemory, pack
from training.checkpoint.records import Piece, RunState

_LOG = logging.getLogger(__name__)


@dataclass
class SaveTimes:
    """Seconds that saving took so far.

    Attributes:
        saves: Checkpoints begun.
        waited: The training thread, for a checkpoint that was still being written.
        copied: The training thread, to copy its tensors.
        written: The thread that writes; waiting for other ranks is part of it.
    """

    saves: int = 0
    waited: float = 0.0
    copied: float = 0.0
    written: float = 0.0


class CheckpointWriter:
    """Writes one rank's part of a run's checkpoints.

    A thread of its own writes a copy of the tensors, one checkpoint at a time. Where that goes
    wrong the next save is tried all the same; only if that fails too, or none follows, it is an
    error.

    Args:
        checkpoints: The run's folder of checkpoints, on a file system that all ranks see.
        rank: This one.
        ranks: How many there are.
        token: Of this attempt at the run, the same on all ranks: rank 0's
            `training.checkpoint.folder.attempt_token`. One rank alone needs to give none.
        keep: Checkpoints that are kept.
        limit: Seconds to wait for the other ranks.

    Attributes:
        times: What saving took so far.

    Raises:
        LakeError: The folder cannot be written.
    """

    def __init__(
        self,
        checkpoints: Path,
        *,
        rank: int = 0,
        ranks: int = 1,
        token: str = "",
        keep: int = 2,
        limit: float = 600.0,
    ) -> None:
        if not 0 <= rank < ranks:
            raise ValueError(f"rank {rank} of {ranks}: 0 to {ranks - 1} are allowed")
        if ranks > 1 and not token:
            raise ValueError("several ranks need a token in common: rank 0's attempt_token()")
        if keep < 1:
            raise ValueError(f"keep = {keep}: at least 1 is needed")
        self.times = SaveTimes()
        self._place = Place(checkpoints, rank, ranks, token or attempt_token(), keep, limit)
        self._memory = HostMemory()
        self._thread: threading.Thread | None = None
        self._error: LimelightError | None = None
        self._step = -1
        with lake_errors(checkpoints):
            checkpoints.mkdir(parents=True, exist_ok=True)
            if rank == 0:
                fsync_path(checkpoints.parent)
                sweep(checkpoints, self._place.token)

    @property
    def failed(self) -> bool:
        """Whether the last save went wrong, as far as is known: save again, and do not wait for it.

        One rank may know before the others do, and all must save the same steps.
        """
        return self._error is not None

    def save(
        self, step: int, fragments: Iterable[Fragment], state: RunState, *, wait: bool = False
    ) -> None:
        """Copy what this rank holds, with its random states, and have it written.

        All ranks save the same steps in the same order. A step that was saved already is not
        saved again. After a save that went wrong this one is waited for.

        Args:
            step: Optimizer steps that were made.
            fragments: What this rank writes; taken one by one, so they may be made on the way.
            state: Where the run stands; rank 0's is kept.
            wait: Return only when the checkpoint is whole: the last one of a run needs that.

        Raises:
            LakeError: This checkpoint cannot be written, and it was waited for.
        """
        if earlier := self._outcome():
            _LOG.warning("step %d is saved now, since an earlier save failed: %s", step, earlier)
            wait = True
        if step != self._step:
            self._step = step
            start = perf_counter()
            tensors, pieces = pack(fragments, self._memory)
            self.times.copied += perf_counter() - start
            self.times.saves += 1
            self._thread = threading.Thread(
                target=self._write, args=(step, tensors, pieces, state), daemon=True
            )
            self._thread.start()
        if wait:
            self._finish()

    def close(self) -> None:
        """Wait until all is written.

        Raises:
            LakeError: The last checkpoint cannot be written.
        """
        self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except LimelightError as late:
            if error is None:
                raise
            # Another error is on its way already: this one goes with it.
            error.add_note(str(late))

    def _finish(self) -> None:
        """Wait for the thread; raise what went wrong in it."""
        if error := self._outcome():
            raise error

    def _outcome(self) -> LimelightError | None:
        """Wait for the thread; what went wrong in it."""
        if self._thread is not None:
            start = perf_counter()
            self._thread.join()
            self.times.waited += perf_counter() - start
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            self._step = -1
        return error

    def _write(
        self, step: int, tensors: dict[str, Tensor], pieces: tuple[Piece, ...], state: RunState
    ) -> None:
        start = perf_counter()
        try:
            step_back()  # digesting and writing keep a core busy that training would have
            write_checkpoint(self._place, step, tensors, pieces, state)
        except LimelightError as error:
            self._error = error
        except BaseException as error:
            late = LakeError(
                f"the checkpoint of step {step} could not be written to"
                f" {self._place.checkpoints}: {error!r}",
                hint="see to that, and start the run again: it goes on from the one before",
                # A full or read-only disk was told from others before: these may answer again.
                may_pass=isinstance(error, OSError),
            )
            late.__cause__ = error
            self._error = late
        self.times.written += perf_counter() - start
