"""Where something was measured, and the most memory that it held at once."""

from pathlib import Path

import torch

from training.engine.distributed import World
from training.loop.meters import peak_memory

_CLEAR_REFS = Path("/proc/self/clear_refs")
_PEAK = "5"
"""Sets a process's largest resident size to the present one (Linux, proc_pid_clear_refs(5))."""


def forget_peak(device: torch.device) -> None:
    """Begin anew: what is held now counts, what was held before does not.

    Off Linux the peak of a processor's memory stays that of the whole process.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text(_PEAK)


def peak_gigabytes(device: torch.device) -> float:
    """The peak as a training run's log has it: of a GPU's memory, else of this process."""
    return round(peak_memory(World(0, 1, 0, device)) / 1e9, 3)


def device_name(device: torch.device) -> str:
    """What a result calls a device; of a processor one thread is used."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu, 1 thread"
