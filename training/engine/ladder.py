"""What to do where memory does not suffice: the same batch in smaller pieces.

A pass of the network that runs out of memory is repeated with half the micro-batch and twice the
accumulation, so that the step computes the same; at one sample with gradient checkpointing; then
the run ends. The step is repeated in place where no other rank can be waiting inside a collective:
with one rank, or with ZeRO 0 and 1, which reduce nothing before the step's end. With ZeRO 2 and 3
on several ranks the others hang in a reduction that this rank will not join: the process ends with
a `MemoryExhaustedError` that carries the `Fit` to start again with.
"""

import gc
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from infra.errors import EngineError
from infra.storage import write_atomic
from training.engine.distributed import World
from training.recipe.tables import EngineTable

log = logging.getLogger(__name__)

OTHER_WORDS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How libraries below PyTorch tell the same, by a RuntimeError."""


@dataclass(frozen=True)
class Fit:
    """How a rank's share of a step goes through the network.

    Attributes:
        micro_batch: Samples at once.
        checkpointing: Whether activations are computed again in the backward pass.
    """

    micro_batch: int
    checkpointing: bool

    def lower(self) -> "Fit | None":
        """The next rung down, which takes less memory; None below the last."""
        if self.micro_batch > 1:
            return Fit(self.micro_batch // 2, self.checkpointing)
        return None if self.checkpointing else Fit(1, checkpointing=True)

    def passes(self, share: int) -> int:
        """Passes that a rank's ``share`` of samples takes: the accumulation."""
        return -(-share // self.micro_batch)

    def __str__(self) -> str:
        how = "with" if self.checkpointing else "without"
        return f"micro-batch {self.micro_batch} {how} gradient checkpointing"


class MemoryExhaustedError(EngineError):
    """A step does not fit into memory.

    Attributes:
        wish: What to start the ranks again with; None where nothing smaller is left.
    """

    exit_code = 6

    def __init__(self, message: str, *, hint: str = "", wish: Fit | None = None) -> None:
        super().__init__(message, hint=hint, may_pass=wish is not None)
        self.wish = wish

    @classmethod
    def at(cls, fit: Fit, *, where: str) -> "MemoryExhaustedError":
        """Of a step that failed with ``fit``."""
        lower = fit.lower()
        if lower is None:
            return cls(
                f"out of memory in {where}, with {fit}: nothing smaller is left",
                hint="use a GPU with more memory, more ranks with engine.zero = 3, a smaller"
                ' data.size, fewer data.frames, or optimizer.name = "adamw8bit"',
            )
        return cls(
            f"out of memory in {where}, with {fit}",
            hint=f"start again from the last checkpoint with {lower}",
            wish=lower,
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the accelerator or off it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in OTHER_WORDS)


def exhaustion(error: Exception, fit: Fit) -> MemoryExhaustedError | None:
    """An exception in our words, if it says that memory ran out; else None.

    Args:
        error: Of anything that a rank does. Of a step we have our words already.
        fit: What it was at.
    """
    if isinstance(error, MemoryExhaustedError):
        return error
    if not out_of_memory(error):
        return None
    return MemoryExhaustedError.at(fit, where="what is done beside the network's steps")


def free_memory() -> None:
    """Let go of what a failed pass left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class Circumstances:
    """What decides what fits; what was found to fit elsewhere says nothing.

    Attributes:
        device: Name of the ranks' device.
        ranks: How many there are.
        engine: The recipe's table ``[engine]``.
    """

    device: str
    ranks: int
    engine: Mapping[str, Any]

    @classmethod
    def of(cls, table: EngineTable, world: World) -> "Circumstances":
        """Those of a run on this rank's machine."""
        cuda = world.device.type == "cuda"
        name = torch.cuda.get_device_name(world.device) if cuda else world.device.type
        return cls(name, world.size, table.model_dump(mode="json"))


@dataclass(frozen=True)
class Wish:
    """What a run is to be started with, or was found to fit.

    Attributes:
        fit: That.
        under: What it was found under.
    """

    fit: Fit
    under: Circumstances


def save_wish(path: Path, wish: Wish) -> None:
    """Keep a wish for the next start.

    Raises:
        LakeError: The disk is full or read-only.
    """
    text = json.dumps({**asdict(wish.fit), "under": asdict(wish.under)}) + "\n"
    write_atomic(path, text.encode(), point="run.fit")


def load_wish(path: Path) -> Wish | None:
    """What `save_wish` kept; None where nothing was, or where it cannot be read."""
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_bytes())
        fit = Fit(int(kept["micro_batch"]), bool(kept["checkpointing"]))
        return Wish(fit, Circumstances(**kept["under"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s is left aside, since it cannot be read: %r", path, error)
        return None
