"""What a protocol says: of which clips, under which lights or with which portraits, how large.

The docstring under each field is what readers of a protocol file are told of it.
"""

from typing import Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from catalog.layouts import Layout
from evaluation.methods.base import Mode
from infra.digests import digest_json
from infra.tables import Table
from stages.geometry import GeometryConfig
from stages.models.faces import FaceModelName
from training.relight.light import DIRECTIONS, PRESETS

Split = Literal["train", "val", "test", "all"]


class SourceTable(Table):
    """``[source]``: whose clips. Either a release or a folder, often named on the command line."""

    release: str = ""
    """A release of the lake; its clips are squares already, and only resized."""

    version: str = ""
    """The release's version; its latest without."""

    split: Split = "test"
    """Which of the release's clips: held-out ones, or `all`."""

    folder: str = ""
    """Videos and pictures: a folder, a glob, a URL, or a CSV or Parquet list, as `limelight build`
    takes them. Each face's square is cut out."""

    layout: Layout = "plain"
    """How file names tell the identity, as in a build."""

    limit: int = Field(0, ge=0)
    """Clips that are taken: the first by name of those that can be used; 0 takes all."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.release and self.folder:
            raise ValueError(
                f"release = {self.release!r} and folder = {self.folder!r}: one of them is allowed"
            )
        return self


class CutTable(Table):
    """``[cut]``: how clips are cut and how long they are."""

    frames: int = Field(100, ge=1, le=100_000)
    """Frames of a video that are judged: its first ones."""

    shortest: int = Field(8, ge=1)
    """Frames that a video must have; shorter ones are left out, and named in the report."""

    repeat: int = Field(16, ge=1, le=1000)
    """Frames that a still picture becomes."""

    margin: float = Field(0.6, ge=0, le=3)
    """Room on each side of the face, in its heights, as in a build."""

    min_face: int = Field(40, ge=8)
    """Pixels that a face must be high; smaller ones are left out."""

    landmarks: FaceModelName = "mediapipe"
    """Name of the landmark model that finds the face."""


class LightsTable(Table):
    """``[lights]``: the lights that every clip is relit with."""

    presets: tuple[str, ...] = ()
    """Lights by name, direction, or "azimuth,elevation" in degrees, as `limelight relight` takes
    them. They are scaled so that each face keeps its exposure."""

    faces: int = Field(0, ge=0, le=100)
    """Reference faces whose light is taken."""

    folder: str = ""
    """Where the reference faces are, of which the first by name are taken; without, they are people
    of the source, drawn by the seed."""

    geometry: GeometryConfig = GeometryConfig()
    """Model that finds the light on a face, as ``[geometry]`` of a build. It decides what methods
    are asked for; what is measured is up to the metric."""

    @field_validator("presets")
    @classmethod
    def _known(cls, presets: tuple[str, ...]) -> tuple[str, ...]:
        for name in presets:
            if name not in PRESETS and name not in DIRECTIONS and not _degrees(name):
                allowed = ", ".join([*PRESETS, *DIRECTIONS])
                raise ValueError(f'{name!r} is none of {allowed}, or "azimuth,elevation"')
        if len(set(presets)) < len(presets):
            raise ValueError("a light is named twice")
        return presets


class PortraitsTable(Table):
    """``[portraits]``: whose portraits move in an animation."""

    each: int = Field(1, ge=1, le=100)
    """Portraits that every driving clip moves, of other people, drawn by the seed."""

    folder: str = ""
    """Where the portraits are; without, they are the first pictures of the source's clips."""


class Protocol(Table):
    """On what methods are judged."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=60)
    """What it is called: small letters, digits, dots and hyphens."""

    title: str = ""
    """Heading of its reports."""

    about: str = ""
    """What it is good for, in a sentence or two."""

    mode: Mode = "relight"
    """`relight`: clips under other lights; `animate`: portraits that move as clips do, light and
    shape their own."""

    size: int = Field(512, ge=64, le=2048, multiple_of=8)
    """Side of the square around the face in which everything is judged, in pixels."""

    seed: int = Field(0, ge=0)
    """Decides what is drawn: reference faces, portraits, and the methods' random numbers."""

    published: str = ""
    """Published table that was measured in this way; its numbers are shown beside ours where the
    estimators are the same, and nothing else of the protocol was changed by `--set`."""

    methods: tuple[str, ...] = ("copy", "ratio", "lcvd")
    """Methods that are judged where none are named."""

    variants: dict[str, dict[str, JsonValue]] = Field({})
    """For an ablation: the options of each variant of the methods, by the variant's name."""

    source: SourceTable = SourceTable()

    cut: CutTable = CutTable()

    lights: LightsTable = LightsTable()

    portraits: PortraitsTable = PortraitsTable()

    @model_validator(mode="after")
    def _lit(self) -> Self:
        if self.mode == "relight" and not (self.lights.presets or self.lights.faces):
            raise ValueError("a protocol of mode relight needs lights.presets or lights.faces")
        return self

    @property
    def digest(self) -> str:
        """Of all that it says, but for how it is called; 16 hexadecimal digits."""
        return digest_json(self.model_dump(mode="json", exclude={"name", "title", "about"}))[:16]

    def settings(self) -> dict[str, Any]:
        """All that it says, in JSON types."""
        return self.model_dump(mode="json")


def _degrees(name: str) -> bool:
    try:
        azimuth, elevation = map(float, name.split(","))
    except ValueError:
        return False
    return abs(azimuth) <= 180 and abs(elevation) <= 90
