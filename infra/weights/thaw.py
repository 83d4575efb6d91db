"""Arrays rebuilt from what a pickle says of them: a type code, a shape and bytes.

All of it was written by the file: whatever is to be allotted is counted first, no part is rebuilt
twice, and no error repeats what the file holds.
"""

import io
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.weights.description import ARRAY, BUFFER, CHUMPY, RECONSTRUCTOR, SCALAR, SPARSE, Frozen

LARGEST = 1 << 29
"""Bytes that all arrays of a file may have together; FLAME's have a tenth of that."""

_DIMENSIONS = 32
_NUMERIC = re.compile(r"[iuf][1248]|b1")

Array = NDArray[Any]


class Thaw:
    """Rebuilds the arrays of one file, within `LARGEST`."""

    def __init__(self) -> None:
        self._left = LARGEST
        # By identity: an object that the file names twice is rebuilt once.
        self._done: dict[int, Array | None] = {}

    def arrays(self, found: dict[str, Any]) -> dict[str, Array]:
        """The arrays among a dictionary's values; each counts for every key that it has.

        Raises:
            ValueError: One is forged, or they are too large together.
        """
        arrays = {
            key: made for key, value in found.items() if (made := self.array(value)) is not None
        }
        if sum(array.nbytes for array in arrays.values()) > LARGEST:
            raise ValueError("its arrays are too large")
        return arrays

    def array(self, value: Any) -> Array | None:
        """The array that is described, or None where something else is."""
        if id(value) not in self._done:
            made = None
            if isinstance(value, list | tuple):
                made = self._sequence(value)
            elif isinstance(value, Frozen):
                made = self._frozen(value)
            self._done[id(value)] = made
        return self._done[id(value)]

    def _frozen(self, value: Frozen) -> Array | None:
        origin, args, state = value.origin, value.args, value.state
        if RECONSTRUCTOR.fullmatch(origin):  # the class, then object, then None
            origin = args[0].origin
        if ARRAY.fullmatch(origin):
            _, shape, dtype, fortran, raw = state
            return self._plain(raw, dtype, shape, "F" if fortran else "C")
        if BUFFER.fullmatch(origin):
            return self._plain(*args)
        if SCALAR.fullmatch(origin):
            return self._plain(args[1], args[0], (), "C")
        if SPARSE.fullmatch(origin):
            return self._dense(origin, state)
        if CHUMPY.fullmatch(origin):
            return self.array(state.get("x")) if isinstance(state, dict) else None
        if origin == "torch._utils._rebuild_tensor_v2":
            return self._tensor(*args[:4])
        return None

    def _claim(self, shape: Any, itemsize: int) -> int:
        """Bytes of an array that is about to be made, if there is room for it."""
        if not isinstance(shape, tuple | list) or len(shape) > _DIMENSIONS:
            raise ValueError("an array has a shape that is none")
        if not all(isinstance(length, int) and 0 <= length < 1 << 62 for length in shape):
            raise ValueError("an array has a shape that is none")
        size = math.prod(shape) * itemsize
        if size > self._left:
            raise ValueError("its arrays are too large")
        self._left -= size
        return size

    def _sequence(self, values: list[Any] | tuple[Any, ...]) -> Array | None:
        """An array of a list of numbers, NumPy's among them; of no list within the list."""
        numbers = []
        for value in values:
            scalar = isinstance(value, Frozen) and SCALAR.fullmatch(value.origin)
            number = self.array(value) if scalar else value
            if number is None or not (scalar or isinstance(number, int | float)):
                return None
            numbers.append(number)
        if not numbers:
            return None
        self._claim((len(numbers),), 8)
        array = np.array(numbers)
        return array if array.dtype.kind in "biuf" else None

    def _plain(self, raw: Any, dtype: Any, shape: Any, order: Any) -> Array | None:
        """An array of numbers out of its bytes; None for one of anything else."""
        code = dtype.args[0]
        if not _NUMERIC.fullmatch(code):
            return None
        # The state of a type: a version, the order of its bytes, and four that only compound
        # types have.
        mark = dtype.state[1] if dtype.state else "|"
        if mark not in ("<", ">", "|", "="):
            raise ValueError("an array has an order of bytes that is none")
        kind = np.dtype(f"{mark}{code}")
        size = self._claim(shape, kind.itemsize)
        data = _bytes(raw)
        if len(data) != size:
            raise ValueError(f"{len(data)} bytes are no array of {size}")
        array = np.frombuffer(data, kind).reshape(tuple(shape), order="F" if order == "F" else "C")
        return np.ascontiguousarray(array, kind.newbyteorder("=")).reshape(tuple(shape))

    def _dense(self, origin: str, state: dict[str, Any]) -> Array:
        """A compressed sparse matrix written out; entries that meet are added, as SciPy does."""
        parts = [self.array(state[name]) for name in ("data", "indices", "indptr")]
        if any(part is None for part in parts):
            raise ValueError("a sparse matrix lacks its numbers")
        data, minor, ends = (np.asarray(part) for part in parts)
        rows, columns = (int(length) for length in state["_shape"])
        self._claim((rows, columns), data.itemsize)
        by_column = "csc" in origin
        lines = columns if by_column else rows
        # Compared, not subtracted: differences of forged ends may wrap around.
        if ends.shape != (lines + 1,) or ends[0] != 0 or not (ends[1:] >= ends[:-1]).all():
            raise ValueError("a sparse matrix has an index that is none")
        if minor.min(initial=0) < 0:
            raise ValueError("a sparse matrix has an index that is none")
        if not ends[-1] == data.size == minor.size:
            raise ValueError("a sparse matrix has not as many numbers as it says")
        dense = np.zeros((columns, rows) if by_column else (rows, columns), data.dtype)
        major = np.repeat(np.arange(lines), np.diff(ends))
        np.add.at(dense, (major, minor), data)
        return np.ascontiguousarray(dense.T) if by_column else dense

    def _tensor(self, storage: Any, offset: int, size: Any, stride: Any) -> Array:
        """A tensor of torch as an array; its storage is a file of torch within the pickle."""
        import torch

        if getattr(storage, "origin", "") != "torch.storage._load_from_bytes":
            raise ValueError("a tensor lacks its storage")
        raw = _bytes(storage.args[0])
        # Torch writes these in its old form, no archive, and without what inflates.
        if raw.startswith(b"PK") or b"bytearray" in raw:
            raise ValueError("a tensor lacks its storage")
        held = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        if not isinstance(held, torch.storage.TypedStorage):
            raise ValueError("a tensor lacks its storage")
        self._claim(size, held.dtype.itemsize)
        flat = torch.tensor([], dtype=held.dtype).set_(held)
        # Unlike NumPy's, torch's own check that a view stays within what it looks at.
        array: Array = flat.as_strided(tuple(size), tuple(stride), offset).contiguous().numpy()
        return array


def _bytes(raw: Any) -> bytes:
    """Bytes as the protocols write them: as such, as latin-1 text, as its encoding, as none."""
    if isinstance(raw, Frozen) and raw.origin == "_codecs.encode":
        raw = raw.args[0]
    elif isinstance(raw, Frozen) and raw.origin.endswith("builtin__.bytes") and not raw.args:
        raw = b""
    return raw.encode("latin-1") if isinstance(raw, str) else bytes(memoryview(raw))
