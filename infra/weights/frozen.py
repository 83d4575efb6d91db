"""Arrays out of a pickle that is not trusted: it is read as a description, and builds nothing.

A pickle is a program: it names functions and classes (its *globals*) and calls them. Here every
global is a stand-in made on the spot, which only remembers what it would have been called with,
and those outside a short list are refused by name. The arrays are then rebuilt by our own code
from what the stand-ins remember: a type code, a shape and bytes. No method of NumPy, SciPy,
chumpy or torch ever sees an object that the file describes (NumPy's own ``__setstate__`` would
take forged types at their word), and none of these packages is even imported for it, save torch
for its tensors, whose bytes go through its own reader with ``weights_only=True``.

What FLAME, DECA and LCVD keep in ``.pkl`` and ``.npy`` files is covered: dictionaries of NumPy
arrays, of any age and protocol, of SciPy's sparse matrices, of chumpy's arrays (whose package no
longer runs), of torch tensors and of lists of numbers.
"""

import io
import math
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from infra.errors import WeightsError

LARGEST = 1 << 26
"""Elements that a sparse matrix may have once it is dense."""

_CORE = r"numpy\.(_core|core)\."
_ARRAY = re.compile(_CORE + r"multiarray\._reconstruct")
_BUFFER = re.compile(_CORE + r"numeric\._frombuffer")
_SCALAR = re.compile(_CORE + r"multiarray\.scalar")
_SPARSE = re.compile(r"scipy\.sparse\._?(csc|csr)\.\1_matrix")
_CHUMPY = re.compile(r"chumpy\.([a-z_]+\.)*[A-Za-z_]+")
_RECONSTRUCTOR = re.compile(r"(copy_reg|copyreg)\._reconstructor")
_PLAIN = re.compile(
    r"numpy\.(ndarray|dtype)|_codecs\.encode|collections\.OrderedDict"
    r"|(__builtin__|builtins)\.(bytes|object|set)"
    r"|torch\._utils\._rebuild_tensor_v2|torch\.storage\._load_from_bytes"
)
_ALLOWED = (_ARRAY, _BUFFER, _SCALAR, _SPARSE, _CHUMPY, _RECONSTRUCTOR, _PLAIN)
_NUMERIC = re.compile(r"[iuf][1248]|b1")
_NPY = b"\x93NUMPY"
_OUTSIDE = b"".join(
    (
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID),
        *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.INST, pickle.OBJ),
    )
)
"""Codes by which a pickle gets at objects of extensions and of other files and processes, and
two old ways to call; no array needs them."""


class RefusedError(Exception):
    """A pickle asks for something that no weight needs."""


class _Frozen:
    """What a pickle says of one object: whose (`origin`), made of what, set to what.

    A pickle can call only what it gets from `_Reader.find_class`, that is, subclasses of this;
    set a state only by the method below; and do nothing else, neither to them nor to these.
    """

    __slots__ = ("args", "state")
    origin: ClassVar[str]
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **named: Any) -> "_Frozen":
        self = object.__new__(cls)
        self.args = args
        self.state = None
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle._Unpickler):
    """Turns every global into a stand-in, or refuses it.

    This is the reader that the standard library has in Python, not its twin in C: that one
    makes a table as long as the largest number by which a pickle remembers an object.
    """

    read: Callable[[int], bytes]
    append: Callable[[Any], None]

    def find_class(self, module: str, name: str) -> type[_Frozen]:
        origin = f"{module}.{name}"
        if not any(pattern.fullmatch(origin) for pattern in _ALLOWED):
            raise RefusedError(origin)
        return type("Stand-in", (_Frozen,), {"__slots__": (), "origin": origin})

    def _load_bytearray(self) -> None:
        """Read a buffer; the standard library allots what it claims to be before it reads."""
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))

    def _refuse(self) -> None:
        raise RefusedError("an object from elsewhere")

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        **dict.fromkeys(_OUTSIDE, _refuse),
        pickle.BYTEARRAY8[0]: _load_bytearray,
    }


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a pickled dictionary, or of an ``.npy`` file that holds one, by key.

    Sparse matrices come dense. What is no array of numbers is left out.

    Raises:
        WeightsError: The file is damaged, asks for more than arrays, or holds none.
    """
    try:
        found = _dictionary(_load(path.read_bytes()))
        arrays = {key: array for key, value in found.items() if (array := _thaw(value)) is not None}
    except RefusedError as error:
        raise WeightsError(
            f"{path.name} asks for {error}, which has no business in a weight: refused, unread",
            hint="do not use this file; take it from its publisher again",
        ) from error
    except ImportError as error:
        raise WeightsError(
            f"{path.name} holds tensors of torch, not installed here",
            hint="pip install 'limelight[models]'",
        ) from error
    except Exception as error:  # bytes that are no pickle can end in any of them
        raise WeightsError(
            f"{path.name} is damaged, or no dictionary of arrays ({type(error).__name__}: {error})",
            hint="take it from its publisher again",
        ) from error
    if not arrays:
        raise WeightsError(
            f"{path.name} holds no arrays; its entries are {', '.join(map(str, found)) or 'none'}",
            hint="see `limelight weights list` for the file that is meant",
        )
    return arrays


def _load(data: bytes) -> Any:
    """The description that is pickled, or pickled behind the header of an ``.npy`` file."""
    stream = io.BytesIO(data)
    if data.startswith(_NPY):
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        _, _, dtype = readers[version](stream)
        if not dtype.hasobject:
            raise ValueError("it is a single array")
    return _Reader(stream, encoding="latin1").load()


def _dictionary(value: Any) -> dict[str, Any]:
    """The dictionary itself, or within an array of one object."""
    if isinstance(value, _Frozen) and _ARRAY.fullmatch(value.origin):
        _, shape, dtype, _, (value,) = value.state
        if shape != () or dtype.args[0] != "O8":
            raise ValueError("it is an array of several objects")
    if not isinstance(value, dict):
        raise ValueError("it holds no dictionary")
    return {key: item for key, item in value.items() if isinstance(key, str)}


def _thaw(value: Any) -> NDArray[Any] | None:
    """The array that is described, or None where something else is."""
    if isinstance(value, list | tuple):
        return _sequence(value)
    if not isinstance(value, _Frozen):
        return None
    origin, args, state = value.origin, value.args, value.state
    if _RECONSTRUCTOR.fullmatch(origin):  # the class, then object, then None
        origin = args[0].origin
    if _ARRAY.fullmatch(origin):
        _, shape, dtype, fortran, raw = state
        return _array(raw, dtype, shape, "F" if fortran else "C")
    if _BUFFER.fullmatch(origin):
        return _array(*args)
    if _SCALAR.fullmatch(origin):
        return _array(args[1], args[0], (), "C")
    if _SPARSE.fullmatch(origin):
        return _dense(origin, state)
    if _CHUMPY.fullmatch(origin):
        return _thaw(state.get("x")) if isinstance(state, dict) else None
    if origin == "torch._utils._rebuild_tensor_v2":
        return _tensor(*args[:4])
    return None


def _sequence(values: list[Any] | tuple[Any, ...]) -> NDArray[Any] | None:
    """An array of a list of numbers, NumPy's among them."""
    numbers = [v if isinstance(v, int | float) else _thaw(v) for v in values]
    if not numbers or any(v is None or np.ndim(v) for v in numbers):
        return None
    array = np.array(numbers)
    return array if array.dtype.kind in "biuf" else None


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any] | None:
    """An array of numbers out of its bytes; None for one of anything else."""
    code = dtype.args[0]
    if not _NUMERIC.fullmatch(code):
        return None
    # The state of a type: a version, the order of its bytes, and four that only compound
    # types have.
    mark = dtype.state[1] if dtype.state else "|"
    if mark not in ("<", ">", "|", "="):
        raise ValueError(f"{mark!r} is no order of bytes")
    kind = np.dtype(f"{mark}{code}")
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ValueError(f"{shape!r} is no shape")
    data = _bytes(raw)
    if len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{len(data)} bytes are no array of shape {tuple(shape)}")
    array = np.frombuffer(data, kind).reshape(tuple(shape), order="F" if order == "F" else "C")
    return np.ascontiguousarray(array, kind.newbyteorder("=")).reshape(tuple(shape))


def _bytes(raw: Any) -> bytes:
    """Bytes as the protocols write them: as such, as latin-1 text, as its encoding, as none."""
    if isinstance(raw, _Frozen) and raw.origin == "_codecs.encode":
        raw = raw.args[0]
    elif isinstance(raw, _Frozen) and raw.origin.endswith("builtin__.bytes") and not raw.args:
        raw = b""
    return raw.encode("latin-1") if isinstance(raw, str) else bytes(memoryview(raw))


def _dense(origin: str, state: dict[str, Any]) -> NDArray[Any]:
    """A compressed sparse matrix written out; entries that meet are added, as SciPy does."""
    rows, columns = (int(length) for length in state["_shape"])
    if not 0 <= rows * columns <= LARGEST:
        raise ValueError(f"a matrix of {rows} x {columns} is too large")
    parts = [_thaw(state[name]) for name in ("data", "indices", "indptr")]
    if any(part is None for part in parts):
        raise ValueError("a sparse matrix lacks its numbers")
    data, minor, ends = (np.asarray(part) for part in parts)
    by_column = "csc" in origin
    lines = columns if by_column else rows
    counts = np.diff(ends)
    # Counted first: an index that is too long would be written out in full.
    if ends.shape != (lines + 1,) or counts.min(initial=0) < 0 or minor.min(initial=0) < 0:
        raise ValueError("a sparse matrix has an index that is none")
    if not counts.sum() == data.size == minor.size:
        raise ValueError("a sparse matrix has not as many numbers as it says")
    dense = np.zeros((columns, rows) if by_column else (rows, columns), data.dtype)
    major = np.repeat(np.arange(lines), counts)
    np.add.at(dense, (major, minor), data)
    return np.ascontiguousarray(dense.T) if by_column else dense


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """A tensor of torch as an array; its storage is a file of torch within the pickle."""
    import torch

    if getattr(storage, "origin", "") != "torch.storage._load_from_bytes":
        raise ValueError("a tensor lacks its storage")
    stream = io.BytesIO(_bytes(storage.args[0]))
    held = torch.load(stream, map_location="cpu", weights_only=True)
    if not isinstance(held, torch.storage.TypedStorage):
        raise ValueError("a tensor lacks its storage")
    flat = torch.tensor([], dtype=held.dtype).set_(held)
    # Unlike NumPy's, torch's own check that a view stays within what it looks at.
    return flat.as_strided(tuple(size), tuple(stride), offset).contiguous().numpy()
