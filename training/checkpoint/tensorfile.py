"""Safetensors files, written as a stream: no copy in memory, the digest made on the way."""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from infra.faults import fault_point
from training.checkpoint.directfile import DirectFile

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int64: "I64",
    torch.uint8: "U8",
}
_CHUNK = 1 << 23


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """Write a new safetensors file and flush it to the disk.

    Args:
        path: The file; there must be none.
        tensors: Contiguous ones on the CPU: float64, float32, int64, uint8.

    Returns:
        Its SHA-256, and its size in bytes.

    Raises:
        OSError: It cannot be written.
    """
    digest, size = hashlib.sha256(), 0
    with DirectFile(path) as file:
        for chunk in _chunks(tensors):
            # Both let other threads run: training goes on meanwhile.
            digest.update(chunk)
            file.write(chunk)
            size += len(chunk)
        fault_point("checkpoint.data.fsync.before")
        file.sync()
        fault_point("checkpoint.data.fsync.after")
    return digest.hexdigest(), size


def _chunks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The file's bytes: the header's length, the header, the tensors."""
    # The widest types first: so every tensor is aligned.
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header, place = {}, 0
    for name in names:
        tensor = tensors[name]
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [place, place + tensor.nbytes],
        }
        place += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in names:
        fault_point("checkpoint.data.write")
        data = tensors[name].numpy().data.cast("B")
        for start in range(0, len(data), _CHUNK):
            yield data[start : start + _CHUNK]
