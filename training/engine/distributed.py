"""Joining the ranks of a run: from torchrun's or Ray Train's environment, or alone."""

import logging
import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist

from infra.errors import EngineError, UsageError

TIMEOUT = timedelta(minutes=10)
"""A collective that takes longer ends the rank: another one is lost or hangs."""


@dataclass(frozen=True)
class World:
    """This rank, and how many there are.

    Attributes:
        rank: 0 to ``size - 1``.
        size: Ranks.
        local_rank: Among those of this machine.
        device: What this rank computes on.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes what is written once."""
        return self.rank == 0


def join(kind: Literal["auto", "cpu", "cuda"] = "auto", timeout: timedelta = TIMEOUT) -> World:
    """Take this process's place among the ranks; every rank calls it, before all else of DeepSpeed.

    Ray Train has made the process group by then, which is used as it is.

    Args:
        kind: What to compute on; ``auto`` takes a GPU where there is one.
        timeout: Of a collective.

    Raises:
        UsageError: There is no such device.
        EngineError: The ranks' environment is incomplete.
    """
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda: PyTorch sees no GPU here", hint="ask for cpu, or for auto")
    # DeepSpeed looks at this when it is imported.
    os.environ["DS_ACCELERATOR"] = kind
    rank, size, local = _place()
    device = torch.device("cpu")
    if kind == "cuda":
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        backend = "nccl" if kind == "cuda" else "gloo"
        dist.init_process_group(backend, rank=rank, world_size=size, timeout=timeout)
    _tame_deepspeed()
    import deepspeed

    deepspeed.init_distributed(dist_backend=dist.get_backend(), timeout=timeout, verbose=False)
    return World(dist.get_rank(), dist.get_world_size(), local, device)


def leave() -> None:
    """Give the process group back."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _place() -> tuple[int, int, int]:
    """Rank, world size and local rank of the environment; without a launcher those of a lone rank.

    The lone rank's are put into the environment, where DeepSpeed reads them again.
    """
    if "RANK" not in os.environ:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
        os.environ.update(alone, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        return rank, size, int(os.environ["LOCAL_RANK"])
    except (KeyError, ValueError) as error:
        raise EngineError(
            f"RANK is set, but not all of WORLD_SIZE and LOCAL_RANK: {error}",
            hint="start the ranks with torchrun, or unset RANK to train with one",
        ) from error


def _tame_deepspeed() -> None:
    """Keep DeepSpeed from compiling, and from talking."""
    import deepspeed.ops

    # It would compile shared-memory collectives for the CPU at first use, for minutes; gloo does.
    # The table is private: where it is gone, so may be the trap.
    compatible = getattr(deepspeed.ops, "__compatible_ops__", None)
    if isinstance(compatible, dict):
        compatible["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
