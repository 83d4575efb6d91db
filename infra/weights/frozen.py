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
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from infra.errors import WeightsError
from infra.weights.description import ALLOWED, ARRAY, Frozen
from infra.weights.thaw import Thaw
from infra.weights.wording import RefusedError, refused, shown, some

_NPY = b"\x93NUMPY"
_OUTSIDE = b"".join(
    (
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID),
        *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.INST, pickle.OBJ),
    )
)
"""Codes by which a pickle gets at objects of extensions and of other files and processes, and
two old ways to call; no array needs them."""


class _Reader(pickle._Unpickler):
    """Turns every global into a stand-in, or refuses it.

    This is the reader that the standard library has in Python, not its twin in C: that one
    makes a table as long as the largest number by which a pickle remembers an object.
    """

    read: Callable[[int], bytes]
    append: Callable[[Any], None]

    def find_class(self, module: str, name: str) -> type[Frozen]:
        origin = f"{module}.{name}"
        if not any(pattern.fullmatch(origin) for pattern in ALLOWED):
            raise RefusedError(origin)
        return type("Stand-in", (Frozen,), {"__slots__": (), "origin": origin})

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
        arrays = Thaw().arrays(found)
    except RefusedError as error:
        raise refused(path, str(error)) from error
    except ImportError as error:
        raise WeightsError(
            f"{path.name} holds tensors of torch, not installed here",
            hint="pip install 'limelight[models]'",
        ) from error
    except Exception as error:  # bytes that are no pickle can end in any of them
        raise WeightsError(
            f"{path.name} is damaged, or no dictionary of arrays "
            f"({type(error).__name__}: {shown(str(error))})",
            hint="take it from its publisher again",
        ) from error
    if not arrays:
        raise WeightsError(
            f"{path.name} holds no arrays; its entries are {some(found)}",
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
    if isinstance(value, Frozen) and ARRAY.fullmatch(value.origin):
        _, shape, dtype, _, (value,) = value.state
        if shape != () or dtype.args[0] != "O8":
            raise ValueError("it is an array of several objects")
    if not isinstance(value, dict):
        raise ValueError("it holds no dictionary")
    return {key: item for key, item in value.items() if isinstance(key, str)}
