"""Copies a rank's fragments into host memory, from where they are written."""

from collections.abc import Iterable

import torch
from torch import Tensor

from infra.digests import digest_bytes
from training.checkpoint.fragments import Fragment, QuantisedRun
from training.checkpoint.randomness import capture_random
from training.checkpoint.records import Piece

_SLAB = 1 << 28
_ALIGNMENT = 64
RANDOM = "random/"
"""What the keys of random states begin with."""


class HostMemory:
    """Memory for the copies, taken once and used at every save; pinned where there is a GPU."""

    def __init__(self) -> None:
        self._slabs: list[Tensor] = []
        self._slab = self._used = 0
        self._pinned = torch.cuda.is_available()

    def clear(self) -> None:
        """Give up all copies."""
        self._slab = self._used = 0

    def copy(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor, valid after `wait` and until `clear`."""
        size = tensor.nbytes
        while self._slab < len(self._slabs) and self._used + size > len(self._slabs[self._slab]):
            self._slab, self._used = self._slab + 1, 0
        if self._slab == len(self._slabs):
            bytes_ = max(size, _SLAB)
            self._slabs.append(torch.empty(bytes_, dtype=torch.uint8, pin_memory=self._pinned))
        place = self._slabs[self._slab][self._used : self._used + size]
        copy = place.view(tensor.dtype).view(tensor.shape)
        copy.copy_(tensor.detach(), non_blocking=True)
        self._used += -(-size // _ALIGNMENT) * _ALIGNMENT
        return copy

    def wait(self) -> None:
        """Wait until the copies from the GPU are there."""
        if self._pinned:
            torch.cuda.current_stream().synchronize()


def pack(
    fragments: Iterable[Fragment], memory: HostMemory
) -> tuple[dict[str, Tensor], tuple[Piece, ...]]:
    """Copy what a rank holds, and its random states.

    Args:
        fragments: Taken one by one.
        memory: Where to; what was packed into it before is given up.

    Returns:
        The copies by their keys in the rank's file, and what they are.
    """
    memory.clear()
    tensors: dict[str, Tensor] = {}
    pieces = []
    maps: dict[int, tuple[Tensor, str]] = {}
    for fragment in fragments:
        floats, codes = {}, {}
        for what, tensor in fragment.tensors.items():
            key = f"{fragment.name}@{fragment.start}/{what}"
            if isinstance(tensor, QuantisedRun):
                for part in ("codes", "absmax", "bounds"):
                    tensors[f"{key}.{part}"] = memory.copy(getattr(tensor, part))
                codes[what] = (key, _map(tensor.code_map, maps, tensors))
            else:
                tensors[key] = memory.copy(tensor)
                floats[what] = key
        pieces.append(
            Piece(
                name=fragment.name,
                shape=fragment.shape,
                start=fragment.start,
                length=fragment.length,
                floats=floats,
                codes=codes,
            )
        )
    tensors |= {f"{RANDOM}{name}": state for name, state in capture_random().items()}
    memory.wait()
    return tensors, tuple(pieces)


def _map(code_map: Tensor, known: dict[int, tuple[Tensor, str]], tensors: dict[str, Tensor]) -> str:
    """Key of a code map; the few that there are get kept once each."""
    if code_map.data_ptr() not in known:
        copy = code_map.cpu().clone()
        key = f"map/{digest_bytes(copy.numpy().tobytes())[:16]}"
        tensors[key] = copy
        # The map is held as well: while it lives, its address is nobody else's.
        known[code_map.data_ptr()] = (code_map, key)
    return known[code_map.data_ptr()][1]
