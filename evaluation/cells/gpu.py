"""What torch says of a GPU, where torch is in use: nothing here imports it."""

import sys
from typing import Any


def cuda() -> Any:
    """Torch's CUDA, where it is in use; None else."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def is_full(error: BaseException) -> bool:
    """Whether an error says that there was no memory left; others may have been using it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    told = isinstance(error, torch.AcceleratorError) and "out of memory" in str(error)
    return told or isinstance(error, torch.OutOfMemoryError)


def is_lost(error: BaseException) -> bool:
    """Whether an error leaves the GPU useless to this process, such as an illegal access."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.AcceleratorError) and not is_full(error)
