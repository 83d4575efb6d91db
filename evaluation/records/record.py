"""The record of a benchmark: one JSON document that holds all that its report says.

Its text is canonical: keys sorted, every number written as the shortest text that reads back as the
same double, NaN as ``null``, zero without a sign. The same findings give the same bytes.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from evaluation.records.facts import (
    CellFacts,
    ClipFacts,
    Facts,
    LightFacts,
    MethodFacts,
    MetricFacts,
    Mode,
    ProtocolFacts,
    Provenance,
    SetFacts,
    StudyFacts,
    TraceFacts,
)
from infra.errors import UsageError
from infra.storage import write_atomic

VERSION: Literal[1] = 1


class Record(Facts):
    """A benchmark."""

    version: Literal[1] = VERSION
    """Of this format."""
    name: str
    """Of the benchmark."""
    protocol: ProtocolFacts
    """On what."""
    methods: tuple[MethodFacts, ...]
    """In the order of the tables' rows."""
    metrics: tuple[MetricFacts, ...]
    """In the order of the tables' columns."""
    unmeasured: dict[str, str] = Field({})
    """Why a metric that was asked for was not measured, by its name."""
    clips: tuple[ClipFacts, ...] = ()
    """Those that drive, and those whose portraits move."""
    lights: tuple[LightFacts, ...] = ()
    """Those that clips were relit with."""
    cells: tuple[CellFacts, ...] = ()
    """Each method on each case."""
    sets: tuple[SetFacts, ...] = ()
    """Values of all films of a method together."""
    traces: tuple[TraceFacts, ...] = ()
    """Values over time."""
    study: tuple[StudyFacts, ...] = ()
    """What people said."""
    provenance: Provenance = Provenance()
    """What it came from."""

    @model_validator(mode="after")
    def _joined(self) -> Self:
        """Everything that is named is there, and once."""
        methods = _unique("method", (method.name for method in self.methods))
        metrics = _unique("metric", (metric.name for metric in self.metrics))
        clips = _unique("clip", (clip.id for clip in self.clips))
        lights = _unique("light", (light.name for light in self.lights))
        _unique("cell", (cell.id for cell in self.cells))
        _unique("case of a method", ((cell.method, cell.case) for cell in self.cells))
        _unique("set value", ((each.method, each.metric, each.mode) for each in self.sets))
        _unique("trace", ((each.method, each.metric, each.mode) for each in self.traces))
        _unique("answer", ((each.method, each.question) for each in self.study))
        for cell in self.cells:
            _known("clip", (cell.clip, cell.reference or cell.clip), clips)
            _known("light", (cell.light,) if cell.light else (), lights)
            _known("metric", (*cell.values, *cell.gaps, *cell.missing), metrics)
        _known("metric", (each.metric for each in self.sets), metrics)
        _known("metric", (each.metric for each in self.traces), metrics)
        for rows in (self.cells, self.sets, self.traces, self.study):
            _known("method", (each.method for each in rows), methods)
        return self

    def text(self) -> str:
        """Its canonical JSON."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1, allow_nan=False)

    def modes(self) -> list[Mode]:
        """What was done, relighting first."""
        found = {cell.mode for cell in self.cells} | {each.mode for each in self.sets}
        order: tuple[Mode, ...] = ("relight", "animate")
        return [mode for mode in order if mode in found]

    def identity(self, cell: CellFacts) -> str:
        """Whose face a cell shows."""
        return self.clip(cell.reference or cell.clip).identity

    def clip(self, id: str) -> ClipFacts:
        """The clip of that id."""
        return self._by_id[id]

    @cached_property
    def _by_id(self) -> dict[str, ClipFacts]:
        return {clip.id: clip for clip in self.clips}


def mean_trace(films: Sequence[NDArray[np.float64]]) -> list[float]:
    """Mean over films at each frame, for `TraceFacts`.

    Args:
        films: Values (k,) of each film's frames; lengths may differ. NaN is left out.

    Returns:
        As many values as the longest film has; NaN where no film has one.
    """
    length = max((len(film) for film in films), default=0)
    table = np.full((len(films), length), np.nan)
    for row, film in zip(table, films, strict=True):
        row[: len(film)] = film
    counts = np.sum(~np.isnan(table), axis=0)
    sums = np.nansum(table, axis=0)
    means: list[float] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).tolist()
    return means


def write_record(record: Record, path: Path) -> Path:
    """Write a record, whole or not at all; returns ``path``."""
    write_atomic(path, (record.text() + "\n").encode(), point="record")
    return path


def read_record(path: Path) -> Record:
    """The record of a file.

    Raises:
        UsageError: There is none, or it is not one of this version.
    """
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="limelight benchmark run writes one"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise UsageError(
            f"{path} is no record of version {VERSION}: {place}: {first['msg']}",
            hint="measure again with limelight benchmark run; what is cached stays",
        ) from error


def _unique(what: str, keys: Iterable[Any]) -> set[Any]:
    counts = Counter(keys)
    if twice := [key for key, count in counts.items() if count > 1]:
        raise ValueError(f"{what} {twice[0]!r} is there twice")
    return set(counts)


def _known(what: str, keys: Iterable[Any], known: set[Any]) -> None:
    for key in keys:
        if key not in known:
            raise ValueError(f"{what} {key!r} is named, but not told of")
