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
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from infra.errors import EngineError

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
        super().__init__(message, hint=hint)
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


def free_memory() -> None:
    """Let go of what a failed pass left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def save_wish(path: Path, fit: Fit) -> None:
    """Keep for the next start what a run ended for."""
    path.write_text(json.dumps(asdict(fit)) + "\n")


def load_wish(path: Path) -> Fit | None:
    """What `save_wish` kept; None where nothing was."""
    if not path.is_file():
        return None
    kept = json.loads(path.read_text())
    return Fit(int(kept["micro_batch"]), bool(kept["checkpointing"]))
