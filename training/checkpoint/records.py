"""What a checkpoint's JSON files say: each rank's record, and the manifest of them all."""

import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from infra.digests import digest_json
from infra.errors import LakeError

FORMAT = 1
_Record = TypeVar("_Record", bound="Record")


class Record(BaseModel):
    """Base: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RunState(Record):
    """Where a run stands, beside its tensors and random states."""

    position: int = Field(ge=0)
    """Samples of the stream that were taken, over all ranks."""
    epoch: int = Field(0, ge=0)
    """Passes over the release that were made."""
    seed: int = Field(0, ge=0)
    """Of the run."""
    zero: int = Field(0, ge=0, le=3)
    """ZeRO stage that saved; it may be resumed at any other."""
    recipe: str = ""
    """Digest of the recipe."""
    release: str = ""
    """Seal of the release that it trains on."""
    scalars: dict[str, int | float] = {}
    """Counts and other numbers of the engine."""

    @field_validator("scalars")
    @classmethod
    def _finite(cls, scalars: dict[str, int | float]) -> dict[str, int | float]:
        if bad := [name for name, value in scalars.items() if not math.isfinite(value)]:
            raise ValueError(f"{bad[0]} = {scalars[bad[0]]}: a finite number is needed")
        return scalars


class Piece(Record):
    """Address of a fragment: elements of a flattened parameter, and what is kept of them."""

    name: str
    """Of the parameter."""
    shape: tuple[int, ...]
    """Of the whole parameter."""
    start: int
    """First element."""
    length: int
    """Elements."""
    floats: dict[str, str]
    """Key in the rank's file of what is kept as float32, by what it is."""
    codes: dict[str, tuple[str, str]]
    """Key of what is kept in 8 bits (its `.codes`, `.absmax`, `.bounds`), and of its code map."""


class File(Record):
    """A file of a checkpoint."""

    name: str
    sha256: str
    size: int


class RankRecord(Record):
    """`rank-00000.json`."""

    rank: int
    file: File
    """The rank's tensors."""
    pieces: tuple[Piece, ...]
    """Where they are."""


class Manifest(Record):
    """`manifest.json`: written last, so that what has one is whole."""

    format: Literal[1] = 1
    step: int = Field(ge=0)
    """Optimizer steps that were made."""
    ranks: int = Field(ge=1)
    """World size that saved; it may be resumed at any other."""
    token: str
    """Of the attempt that saved."""
    state: RunState
    files: tuple[File, ...]
    """All others of the folder."""
    digest: str = ""
    """SHA-256 of the rest of this record, as canonical JSON."""

    def sealed(self) -> Self:
        """The same with its digest."""
        rest = self.model_dump(mode="json", exclude={"digest"})
        return self.model_copy(update={"digest": digest_json(rest)})


def parse(kind: type[_Record], path: Path, data: bytes) -> _Record:
    """A record out of the bytes of the file ``path``.

    Raises:
        LakeError: It is damaged, or of another format.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise damaged(path, f"{where}: {first['msg']}".removeprefix(": ")) from error


def damaged(path: Path, why: str) -> LakeError:
    """The error for a file of a checkpoint that is not what was written."""
    return LakeError(
        f"{path} is damaged: {why}",
        hint="resume from an older checkpoint: move this one's folder away",
    )


def check_cover(pieces: Iterable[Piece]) -> None:
    """That all that is kept of a parameter is kept of each of its elements, once.

    Raises:
        LakeError: Elements are missing, or there twice.
    """
    runs: dict[tuple[str, str], list[tuple[int, int]]] = {}
    totals: dict[str, int] = {}
    for piece in pieces:
        totals[piece.name] = math.prod(piece.shape)
        for what in [*piece.floats, *piece.codes]:
            span = (piece.start, piece.start + piece.length)
            runs.setdefault((piece.name, what), []).append(span)
    for (name, what), spans in runs.items():
        ends = [(0, 0), *sorted(spans), (totals[name], totals[name])]
        for (_, stop), (start, _) in pairwise(ends):
            if start != stop:
                fault = "nobody" if start > stop else "two ranks"
                raise LakeError(
                    f"elements {min(start, stop)} to {max(start, stop)} of {what} of {name} were"
                    f" given to the checkpoint by {fault}",
                    hint="this is a mistake in the engine: please report it",
                )
