"""Model FLOP utilisation: the arithmetic that training needs, over what the device could do.

What gradient checkpointing computes again is not counted (MFU, not HFU; Chowdhery et al. 2022,
"PaLM", appendix B).
"""

import re
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

PEAKS = {
    "B200": 2250e12,
    "H200": 989.4e12,
    "GH200": 989.4e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989.4e12,
    "H800": 989.4e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A40": 149.7e12,
    "A10": 125e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
}
"""Dense bf16 (or fp16) FLOP a second, adding up in fp32, of the tensor cores: NVIDIA's data sheets
and architecture papers (Blackwell, Hopper, Ampere, Ada), half of what they say with sparsity."""

_OTHERS = r"(?!.* (D|Ti|SUPER|Laptop|Max-Q|MIG)\b)"
"""Words after a name that make it that of a smaller or a larger GPU, or of a part of one."""


def training_flops(forward: Callable[[], Tensor]) -> int:
    """FLOP of a forward and a backward pass: a multiplication and an addition are two.

    Counted are matrix products, convolutions and attention, which are nearly all of it.

    Args:
        forward: A pass of a module with trainable weights, and checkpointing off. On the device
            ``meta`` it costs neither memory nor time.
    """
    with FlopCounterMode(display=False) as counter:
        forward().float().sum().backward()
    return int(counter.get_total_flops())


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP a second that a device could do at best.

    Of GPUs in `PEAKS` in half precision that is the maker's figure; else it is measured.
    """
    if device.type == "cuda" and dtype in (torch.bfloat16, torch.float16):
        name = torch.cuda.get_device_name(device)
        # The longest name first: "H100" is a part of "H100 PCIe". Whole words: an "A10G" is no A10.
        for known in sorted(PEAKS, key=len, reverse=True):
            if re.search(rf"\b{known}\b{_OTHERS}", name):
                return PEAKS[known]
    return measured_flops(device, dtype)


def measured_flops(device: torch.device, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """FLOP a second of a product of square matrices: the best of some.

    Args:
        device: Where.
        dtype: Of the matrices.
        seconds: How long to try.
    """
    size = 8192 if device.type == "cuda" else 768
    one = torch.randn(size, size, device=device).to(dtype)
    best, until = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        product = one @ one
        # Reading an element waits for the device.
        float(product[0, 0])
        now = time.perf_counter()
        best = min(best, now - start)
        if now > until:
            return 2 * size**3 / best
