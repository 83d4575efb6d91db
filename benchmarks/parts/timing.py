"""Seconds of some work, and how fast this machine could do the arithmetic of a network."""

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_ROUNDS = 20  # short ones, of which one will fall between the work of others
_PICTURE = 320  # side of the maps that are convolved


def best_seconds(rounds: int, *works: Callable[[], object]) -> list[float]:
    """Seconds of the fastest call of each, after one to warm up; they take turns.

    What runs on a GPU must wait for it.
    """
    seconds = [[0.0] * rounds for _ in works]
    for work in works:
        work()
    for turn in range(rounds):
        for work, taken in zip(works, seconds, strict=True):
            began = perf_counter()
            work()
            taken[turn] = perf_counter() - began
    return [min(taken) for taken in seconds]


def ceiling_gflops(device: "torch.device", dtype: "torch.dtype") -> float:
    """What the better of a large matrix product and a large 3x3 convolution does in a second.

    On as many threads as torch may use; without TF32, as our networks compute.

    Returns:
        Units of 1e9 operations: a multiplication and an addition are two.
    """
    import torch  # not everything that is timed here needs it

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    side, channels = (8192, 256) if device.type == "cuda" else (1024, 64)
    matrix = torch.rand(side, side, device=device, dtype=dtype)
    maps, kernel = (
        torch.rand(shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        for shape in ((1, channels, _PICTURE, _PICTURE), (channels, channels, 3, 3))
    )
    with torch.inference_mode():
        # Reading one number waits for a GPU.
        product_s, convolution_s = best_seconds(
            _ROUNDS,
            lambda: (matrix @ matrix)[0, 0].item(),
            lambda: torch.conv2d(maps, kernel, padding=1)[0, 0, 0, 0].item(),
        )
    product, convolution = 2 * side**3, 18 * channels**2 * _PICTURE**2
    return max(product / product_s, convolution / convolution_s) / 1e9
