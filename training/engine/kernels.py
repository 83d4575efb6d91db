"""Keeping from kernels that are known to be wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def sound_kernels(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """For passes of a network whose results can be trusted.

    oneDNN's gradient of a 3-D convolution's weights in bf16 reads memory that it has not written
    (PyTorch 2.12.1): now and then it is NaN. Plain kernels are slower, and right.
    """
    if device.type != "cpu" or dtype != torch.bfloat16:
        yield
        return
    enabled = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = enabled
