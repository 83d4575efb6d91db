"""The parts of a benchmark's record: what each key of it says."""

import math
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue


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
    """Of spherical harmonics: nine rows of red, green and blue. Empty where clips were asked for
    different ones under this name, each as bright as the clip's own light."""
    picture: Beside = ""
    """A face or a ball that is lit so."""


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
    gaps: dict[str, float] = {}
    """Share of its frames (or of pairs of frames) without a value, in 0..1, by metric; only where
    some have none. They are left out of the mean."""
    missing: dict[str, str] = {}
    """Why there is no value at all, by metric."""
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
    """Lower end of its 95% interval, inside the metric's range: the value, and on either side
    Student's t times the standard deviation over draws of identities. None where it cannot be
    estimated, as where the films show one person."""
    high: Number = None
    """Upper end."""
    draws: int = Field(0, ge=0)
    """How often identities were drawn for the interval; 0 where there is none."""
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
