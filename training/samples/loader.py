"""Batches of samples, read by processes of their own ahead of time.

Which samples they are, and in which order they come, is arithmetic (`training.sampling`): it does
not depend on how many processes read them. These come from a fork server: a forked copy of the
trainer would inherit CUDA, and the locks of threads that it does not have; and a server loads
torch once, not once a process.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from multiprocessing import get_context
from time import monotonic
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from catalog.release import Release
from infra.errors import EngineError, LakeError, LimelightError
from training.recipe.tables import Recipe
from training.samples.cache import LatentCache
from training.samples.read import SampleReader
from training.samples.sample import TrainingBatch, TrainingSample, collate
from training.sampling import micro_batches, share

_LOOK = 5.0  # seconds after which a silent loader's processes are looked after
_TOLD = 5


class TrainingLoader:
    """A rank's micro-batches, from a step on to the run's last.

    Every step gives ``batch / ranks / micro_batch`` of them. Iterating starts the processes,
    closing the iterator (or the end) stops them.

    Args:
        release: The release.
        recipe: The run's recipe.
        split: ``train``, ``val`` or ``test``.
        rank: Whose share.
        ranks: Among how many a step is shared.
        start_step: First step that is read.
        micro_batch: Samples at once; the recipe's without.
        augment: Change samples as the recipe says.
        cache: Latents in place of pictures.
        device: Where batches go.
        dtype: Of their tensors.

    Attributes:
        reader: Gives single samples by their positions, in this process.

    Raises:
        UsageError: The batch cannot be shared or cut so, or the split gives nothing.
    """

    def __init__(
        self,
        release: Release,
        recipe: Recipe,
        *,
        split: str = "train",
        rank: int = 0,
        ranks: int = 1,
        start_step: int = 0,
        micro_batch: int | None = None,
        augment: bool = True,
        cache: LatentCache | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.reader = SampleReader(release, recipe, split=split, augment=augment, cache=cache)
        self._recipe = recipe
        self._rank = rank
        self._ranks = ranks
        self._start = start_step
        self._size = micro_batch or recipe.engine.micro_batch
        self._device = device
        self._dtype = dtype
        self.micro_batches = len(self._step(start_step))

    def _step(self, step: int) -> list[range]:
        positions = share(step, batch=self._recipe.run.batch, rank=self._rank, ranks=self._ranks)
        return micro_batches(positions, self._size)

    def __iter__(self) -> Iterator[TrainingBatch]:
        """Micro-batches in order.

        Raises:
            LakeError: A sample is damaged, and so is all that was drawn in its place.
            EngineError: A reading process died, or hangs.
        """
        samples = self.samples()
        while batch := [sample for _, sample in zip(range(self._size), samples, strict=False)]:
            yield collate(batch, self._device, self._dtype)

    def samples(self) -> Iterator[TrainingSample]:
        """The same samples one by one, as they are read: bytes, in this machine's memory.

        Raises:
            LakeError: As in iterating.
            EngineError: As in iterating.
        """
        steps = range(self._start, self._recipe.run.steps)
        every = (part for step in steps for part in self._step(step))
        positions = (position for part in every for position in part)
        data = self._recipe.data
        if not data.workers:
            yield from map(self.reader.__getitem__, positions)
            return
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        loader: DataLoader[Any] = DataLoader(
            _Positions(self.reader),
            batch_size=None,
            sampler=positions,
            collate_fn=_as_it_is,
            num_workers=data.workers,
            prefetch_factor=data.prefetch,
            worker_init_fn=_one_thread,
            multiprocessing_context=context,
            timeout=min(_LOOK, data.wait_seconds),
            # Else it would draw its seed out of the run's own random numbers.
            generator=torch.Generator().manual_seed(self._recipe.run.seed),
        )
        yield from _watched(loader, data.wait_seconds)


def _watched(loader: "DataLoader[Any]", wait_seconds: float) -> Iterator[TrainingSample]:
    """A loader's samples, for which nobody waits longer than is allowed.

    After a short time without a sample the loader looks whether its processes are alive, and
    gives up waiting; it is asked again until the time is up.
    """
    samples = iter(loader)
    since = monotonic()
    while True:
        try:
            sample = next(samples, None)
        except (RuntimeError, OSError, EOFError) as error:
            if "timed out" not in str(error):
                raise EngineError(
                    f"a process that reads training samples died: {error}",
                    hint="it was killed, perhaps for want of memory: lower data.workers,"
                    " data.prefetch or data.size",
                    may_pass=True,
                ) from error
            if monotonic() - since > wait_seconds:
                raise EngineError(
                    f"no training sample came for {wait_seconds:g} seconds",
                    hint="the disk hangs, or data.wait_seconds is too short for it",
                    may_pass=True,
                ) from error
            continue
        if sample is None:
            return
        if isinstance(sample, LimelightError):
            raise sample
        yield sample
        since = monotonic()


class _Positions(Dataset[Any]):
    """What torch's loader asks; errors come back as values, as they were raised."""

    def __init__(self, reader: SampleReader) -> None:
        self._reader = reader

    def __getitem__(self, position: int) -> TrainingSample | LimelightError:
        try:
            return self._reader[position]
        except LimelightError as error:
            return error


def _as_it_is(sample: Any) -> Any:
    return sample


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


class LostSamples:
    """Counts the samples that turned out damaged, up to a limit.

    Args:
        limit: How many a run may lose (`DataTable.max_lost`).

    Attributes:
        reasons: (key, reason) of each, in order.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reasons: list[tuple[str, str]] = []

    def __len__(self) -> int:
        """Samples lost."""
        return len(self.reasons)

    def add(self, lost: Iterable[tuple[str, str]]) -> None:
        """Count what a batch tells (`TrainingBatch.lost`).

        Raises:
            LakeError: More are lost than allowed; the message names clips and reasons.
        """
        self.reasons += lost
        if len(self.reasons) > self.limit:
            counts = Counter(self.reasons).most_common(_TOLD)
            told = "; ".join(f"{key} ({reason}), {count} times" for (key, reason), count in counts)
            raise LakeError(
                f"{len(self.reasons)} training samples were damaged, {self.limit} are allowed"
                f" (data.max_lost): {told}",
                hint="find out with `limelight verify`, and build the release again",
            )
