"""What a pickle may name when it describes arrays, and what stands for that."""

import re
from typing import Any, ClassVar

_CORE = r"numpy\.(_core|core)\."
ARRAY = re.compile(_CORE + r"multiarray\._reconstruct")
BUFFER = re.compile(_CORE + r"numeric\._frombuffer")
SCALAR = re.compile(_CORE + r"multiarray\.scalar")
SPARSE = re.compile(r"scipy\.sparse\._?(csc|csr)\.\1_matrix")
CHUMPY = re.compile(r"chumpy\.([a-z_]+\.)*[A-Za-z_]+")
RECONSTRUCTOR = re.compile(r"(copy_reg|copyreg)\._reconstructor")
_PLAIN = re.compile(
    r"numpy\.(ndarray|dtype)|_codecs\.encode|collections\.OrderedDict"
    r"|(__builtin__|builtins)\.(bytes|object|set)"
    r"|torch\._utils\._rebuild_tensor_v2|torch\.storage\._load_from_bytes"
)
ALLOWED = (ARRAY, BUFFER, SCALAR, SPARSE, CHUMPY, RECONSTRUCTOR, _PLAIN)


class Frozen:
    """What a pickle says of one object: whose (`origin`), made of what, set to what.

    A pickle can call only what it gets from its reader (`infra.weights.frozen`), that is,
    subclasses of this; set a state only by the method below; and do nothing else, neither to
    them nor to these.
    """

    __slots__ = ("args", "state")
    origin: ClassVar[str]
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **named: Any) -> "Frozen":
        """Remember the call."""
        self = object.__new__(cls)
        self.args = args
        self.state = None
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state
