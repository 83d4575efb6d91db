"""The one TOML file of a build, validated; errors name file, key, value and what is allowed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, create_model

from infra.engine.base import Resources
from infra.errors import UsageError
from infra.tables import Table, parse_table, read_toml
from infra.toml_text import explained_toml
from stages.base import Stage
from stages.pack import PackConfig
from stages.registry import STAGES


class SourceTable(Table):
    """``[source]``: which clips."""

    path: str = ""
    """Folder, glob, fsspec URL, or a CSV or Parquet list; the command line's SOURCE wins."""
    name: str = ""
    """Name of the release; the command line's --name wins."""
    layout: Literal["plain", "vfhq", "celebvhq", "hdtf", "ffhq"] = "plain"
    """How file names tell the identity (the data set whose naming they follow)."""


class ResourcesTable(Table):
    """``[engine.resources.<stage>]``: what one worker of a stage asks of the cluster."""

    num_cpus: float = Field(1.0, gt=0)
    """Processor cores, fractions allowed."""
    num_gpus: float = Field(0.0, ge=0)
    """GPUs, fractions allowed."""
    custom: dict[str, float] = Field({})
    """Named custom resources of the cluster."""


class EngineTable(Table):
    """``[engine]``: how the work is spread; never changes a result."""

    workers: int = Field(0, ge=0)
    """Workers a pool; 0 takes as many as the cluster holds."""
    partition: int = Field(256, ge=1)
    """Clips a Prefect task."""
    frame_bytes: int = Field(1 << 30, ge=1 << 20)
    """Decoded frames that a worker keeps; longer clips are decoded again where needed."""
    memory_bytes: int = Field(6 << 30, ge=0)
    """A worker's own data may grow by this much before it is a MemoryError; 0 = no limit."""
    deadline_seconds: float = Field(120.0, gt=0)
    """A clip may take this long ..."""
    deadline_per_frame: float = Field(1.0, gt=0)
    """... and this much more for each of its frames, before its worker counts as hung; models
    that are slow on a processor are given more by themselves."""
    resources: dict[str, ResourcesTable] = Field({})
    """What a stage's worker asks of the cluster, by stage name."""

    def stage_resources(self) -> dict[str, Resources]:
        """Resources of every stage, in the engine's words."""
        asked = {stage.name: stage.resources for stage in STAGES}
        for name, table in self.resources.items():
            asked[name] = Resources(table.num_cpus, table.num_gpus, table.custom)
        return {
            name: Resources(r.num_cpus, r.num_gpus, r.custom, self.memory_bytes)
            for name, r in asked.items()
        }


class _BuildConfig(Table):
    source: SourceTable = SourceTable()
    engine: EngineTable = EngineTable()
    pack: PackConfig = PackConfig()

    def stages(self) -> list[Stage[Any]]:
        """The configured stages, in order."""
        return [stage(getattr(self, stage.name)) for stage in STAGES]


_TABLES: Any = {stage.name: (stage.Config, stage.Config()) for stage in STAGES}
BuildConfig: Any = create_model(
    "BuildConfig",
    __base__=_BuildConfig,
    __doc__="A whole build: [source], [engine], [pack], and one table a stage.",
    **_TABLES,
)


def load_config(path: Path | None) -> Any:
    """Read and validate a build's TOML file; ``None`` gives the defaults.

    Raises:
        UsageError: Not readable, not TOML, an unknown key, or a value that is not allowed.
    """
    return BuildConfig() if path is None else parse_config(read_toml(path), str(path))


def parse_config(table: Mapping[str, Any], origin: str) -> Any:
    """Validate a config that is already a table; ``origin`` names it in errors."""
    config = parse_table(BuildConfig, table, origin)
    unknown = set(config.engine.resources) - {stage.name for stage in STAGES}
    if unknown:
        raise UsageError(
            f"{origin}: [engine.resources] names {', '.join(sorted(unknown))}; "
            f"allowed are {', '.join(stage.name for stage in STAGES)}"
        )
    return config


def default_toml() -> str:
    """The defaults as a file that explains itself."""
    return explained_toml(BuildConfig())
