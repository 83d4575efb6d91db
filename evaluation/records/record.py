"""The record of a benchmark: one JSON document that holds all that its report says.

Its text is canonical: keys sorted, every number written as the shortest text that reads back as the
same double, NaN as ``null``, zero without a sign. The same findings give the same bytes.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from infra.errors import UsageError
from infra.storage import write_atomic

VERSION: Literal[1] = 1


def _number(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        if math.isinf(value):
            raise ValueError("an infinite value says nothing in a table: bound it, or leave it out")
        return None if math.isnan(value) else float(value) + 0.0  # -0.0 becomes 0.0
    return value


def _beside(path: str) -> str:
    """A path that cannot leave the report's folder, nor be taken for an address."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or set(path) & set("\\:\0"):
        raise ValueError(f"{path!r} is no relative path beside the report")
    return path


Number = Annotated[float | None, BeforeValidator(_number)]
"""A finite number; None where there is none (NaN becomes None)."""

Beside = Annotated[str, AfterValidator(_beside)]
"""A file beside the report, by its relative path with `/`; empty for none."""

Mode = Literal["relight", "animate"]


class Facts(BaseModel):
    """Base: frozen, and strict about unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class ProtocolFacts(Facts):
    """On what the methods were judged."""

    name: str
    """Of the protocol."""
    title: str = ""
    """Heading of its reports."""
    about: str = ""
    """What it is good for."""
    digest: str = ""
    """Of its settings."""
    size: int = Field(ge=1)
    """Width and height of the pictures, in pixels."""
    source: str = ""
    """Release or folder that the clips come from."""
    published: str = ""
    """Key of the published table that was measured by this protocol; see
    `evaluation.records.published`. Empty for none: no published number is shown."""
    settings: dict[str, JsonValue] = {}
    """All else that it says."""
    left_out: dict[str, str] = {}
    """Why a clip of the source was not judged, by its name."""


class MethodFacts(Facts):
    """What was judged."""

    name: str
    """Unique."""
    digest: str = ""
    """Of all that decides its films."""
    weights: dict[str, str] = {}
    """Identity of each weight, by name."""
    options: dict[str, JsonValue] = {}
    """Its settings."""
    factors: dict[str, float | str] = {}
    """What an ablation varies, and this one's value: ``{"guidance": 4.5}``. Methods that have a
    factor in common are compared over it."""
    unavailable: str = ""
    """Why it could not run here; empty where it could."""


class MetricFacts(Facts):
    """What was measured: `evaluation.metrics.base.MetricInfo` as JSON."""

    name: str
    """Unique."""
    title: str
    """Heading of its column."""
    higher_is_better: bool
    """Which way is better."""
    unit: str = ""
    """Of its values; empty for plain numbers."""
    range: tuple[float | None, float | None] = (None, None)
    """Least and largest value; None where there is no bound."""
    estimator: str = ""
    """Network or formula."""
    grade: Literal["standard", "embedded"] = "standard"
    """`embedded`: a stand-in without the standard weights, marked wherever it is shown."""
    definition: str = ""
    """What is computed, with its source."""
    weights: dict[str, str] = {}
    """Identity of each weight, by name."""
    published: str = ""
    """Column of the published tables whose estimator this is; empty for none."""


class ClipFacts(Facts):
    """A clip that methods were given, to drive or as a portrait."""

    id: str
    """Digest of its film; unique."""
    name: str
    """For people."""
    identity: str
    """Whom it shows. Clips of one identity are not independent of each other."""
    frames: int = Field(ge=1)
    """How many."""
    fps: float = Field(25.0, gt=0)
    """Frames a second."""
    video: Beside = ""
    """To be played."""


class LightFacts(Facts):
    """A light that was wanted."""

    name: str
    """Unique."""
    coefficients: list[list[float]] = []
    """Of spherical harmonics: nine rows of red, green and blue."""
    picture: Beside = ""
    """A face that is lit so."""


class CellFacts(Facts):
    """One method on one case: a clip under a light, or a portrait driven by a clip."""

    id: str
    """Unique."""
    case: str
    """What was asked for, whoever was asked. Cells of one case are paired in tests."""
    method: str
    """Name of the method."""
    mode: Mode
    """What was done."""
    clip: str
    """Id of the driving clip."""
    reference: str = ""
    """Id of the portrait's clip; empty where the driving clip itself was relit."""
    light: str = ""
    """Name of the light; empty for animation."""
    outcome: Literal["done", "failed", "unavailable"] = "done"
    """How it ended."""
    reason: str = ""
    """Why it failed."""
    output: str = ""
    """Digest of the method's film."""
    seconds_per_frame: Number = None
    """Time of its generation."""
    peak_bytes: Number = None
    """Most memory of its generation."""
    values: dict[str, Number] = {}
    """Mean over its frames, by metric; None where nothing could be measured."""
    video: Beside = ""
    """To be played."""


class SetFacts(Facts):
    """A value of all of a method's films together, such as FID."""

    method: str
    """Name of the method."""
    metric: str
    """Name of the metric."""
    mode: Mode = "relight"
    """What was done."""
    value: Number = None
    """None where there were too few films for any; ``warning`` says so."""
    low: Number = None
    """Lower end of its 95% interval, where one was estimated."""
    high: Number = None
    """Upper end."""
    n: int = Field(0, ge=0)
    """Outputs that it stands on."""
    reals: int = Field(0, ge=0)
    """Real ones that they were held against."""
    warning: str = ""
    """Why it should not be trusted; empty where it may be."""


class TraceFacts(Facts):
    """A clip metric over time: the mean over a method's cells at each frame."""

    method: str
    """Name of the method."""
    metric: str
    """Name of the metric."""
    mode: Mode = "relight"
    """What was done."""
    values: list[Number]
    """Of each frame (or pair of frames), the first one first."""


class StudyFacts(Facts):
    """What people said of a method, from 1 to 5."""

    method: str
    """Name of the method."""
    question: str
    """Heading of its column, such as ``LA-U``."""
    value: Number = None
    """Mean of the votes."""
    low: Number = None
    """Lower end of its 95% interval."""
    high: Number = None
    """Upper end."""
    votes: int = Field(0, ge=0)
    """How many."""
    raters: int = Field(0, ge=0)
    """How many people."""
    agreement: Number = None
    """Krippendorff's alpha of the question, over all methods: 1 where all people agree."""


class Provenance(Facts):
    """What it all came from."""

    release: str = ""
    """Name and version of the release, or the folder."""
    seal: str = ""
    """Digest of the release."""
    checkpoints: dict[str, str] = {}
    """Digest of each checkpoint, by name."""
    weights: dict[str, str] = {}
    """Digest of each weight, by name."""
    seeds: dict[str, int] = {}
    """Of random numbers, by use."""
    versions: dict[str, str] = {}
    """Of programs and libraries."""
    run: dict[str, str] = {}
    """The machine and the time: facts that may differ while all findings are the same."""


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
            _known("metric", cell.values, metrics)
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
