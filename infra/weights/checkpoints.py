"""Tensors out of a torch checkpoint that is not trusted: read with ``weights_only=True``.

That runs nothing, but believes what the file says of sizes. Here a file never costs more than a
few times its own bytes.
"""

import mmap
import pickle
import re
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

from infra.errors import WeightsError
from infra.weights.wording import RefusedError, damaged, refused, shown, some

REPEATS = 4
"""Times its file's bytes that a checkpoint's tensors may have: some are one under two names."""

_LIST = "see `limelight weights list` for the file that is meant"
_BESIDE = (
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
    "numpy.dtype",
    "numpy.ndarray",
)
"""What training scripts keep beside the weights: scores, in NumPy's types. Left out."""


class _Inert:
    """Takes the place of what lies beside the weights; NumPy itself sees nothing of it."""

    def __new__(cls, *args: Any, **named: Any) -> "_Inert":
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def read_tensors(path: Path, entry: str = "") -> dict[str, Any]:
    """Tensors of a torch checkpoint, by key; nothing in it is executed.

    Args:
        path: What ``torch.save`` wrote.
        entry: The entry that holds them, or ``a|b``: the first of these that is there; empty
            where the checkpoint is a bare state dict.

    Raises:
        WeightsError: It is damaged, asks to run code, or does not hold such tensors.
    """
    import torch

    loaded = _load(path)
    if not isinstance(loaded, dict):
        raise WeightsError(f"{path.name} holds a {type(loaded).__name__}, no weights", hint=_LIST)
    names = entry.split("|") if entry else []
    held = [loaded[name] for name in names if isinstance(loaded.get(name), dict)]
    if names and not held:
        wanted = " or ".join(map(repr, names))
        raise WeightsError(
            f"{path.name} has no entry {wanted}; its entries are {some(loaded)}", hint=_LIST
        )
    chosen = held[0] if names else loaded
    tensors = {
        key: value.detach()
        for key, value in chosen.items()
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise WeightsError(
            f"{path.name} holds no tensors; its entries are {some(chosen)}", hint=_LIST
        )
    for key, tensor in tensors.items():
        if not _is_plain(tensor):
            raise WeightsError(
                f"{shown(key)} in {path.name} is no dense tensor of numbers on the processor",
                hint=_LIST,
            )
    # Counted before anything is cloned: a view may be larger than all that it looks at.
    if sum(t.numel() * t.element_size() for t in tensors.values()) > REPEATS * path.stat().st_size:
        raise refused(path, "tensors larger than itself")
    # Cloned, for a safetensors file holds no two names of the same memory.
    return {key: tensor.clone().contiguous() for key, tensor in tensors.items()}


def _load(path: Path) -> Any:
    """The checkpoint's object."""
    import torch

    try:
        _refuse_inflation(path)
        with torch.serialization.safe_globals([(_Inert, name) for name in _BESIDE]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except RefusedError as error:
        raise refused(path, str(error)) from error
    except pickle.UnpicklingError as error:
        # Torch's message is long, and advises to trust the file.
        asked = re.search(r"GLOBAL ([\w.]+)|class ([\w.]+)", str(error))
        if asked:
            raise refused(path, asked[1] or asked[2]) from error
        raise damaged(path, "checkpoint of torch") from error
    except Exception as error:  # bytes that are no checkpoint can end in any of them
        raise damaged(path, "checkpoint of torch") from error


def _refuse_inflation(path: Path) -> None:
    """Refuse a file that would be read into much more memory than it has bytes."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # The one call that torch allows which makes much out of a number.
        if data.find(b"bytearray") >= 0:
            raise RefusedError("bytearray")
        archive = data[:4] == b"PK\x03\x04"
    if archive:
        with ZipFile(path) as opened:
            members = opened.infolist()
        # Torch compresses nothing. Members that overlap have more bytes together than the file.
        stored = all(member.compress_type == ZIP_STORED for member in members)
        if not stored or sum(member.file_size for member in members) > path.stat().st_size:
            raise RefusedError("more bytes than it holds")


def _is_plain(tensor: Any) -> bool:
    """Whether its numbers lie on the processor, one after the other, in a type that is kept."""
    import torch

    types = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool)
    integers = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_nested
        and tensor.dtype in types + integers
    )
