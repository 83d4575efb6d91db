"""Settings from the environment: ``LIMELIGHT_<NAME>`` (see each field)."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.errors import UsageError

PREFIX = "LIMELIGHT_"


class Settings(BaseSettings):
    """Where Limelight runs. What it does to clips is in the build's TOML file instead."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    lake: str = "lake"
    """Folder of the lake."""

    cache: Path = Path("~/.cache/limelight")
    """Folder for what can be fetched again: weights, downloaded sources."""

    weights: str = ""
    """A folder of weights put there by hand; asked before the cache."""

    weights_mirror: str = ""
    """URL prefix of a mirror of weights (``<prefix>/<file>``), any that fsspec reads."""

    backend: Literal["ray", "inline"] = "ray"
    """The engine: Ray actors, or in process (for debugging)."""

    ray_address: str = ""
    """Address of a running Ray cluster (``host:port``); empty starts one on this machine."""

    ray_resources: dict[str, float] = {}
    """Custom resources of the Ray started here, as JSON, e.g. ``{"decoder": 2}``."""

    workers: int = Field(default=0, ge=0)
    """Most workers a pool; 0 means as many as fit. More than there are cores share them."""

    memory_bytes: int = Field(default=0, ge=0)
    """Data limit of a worker whose stage states none, in bytes; 0 means no limit."""

    window_bytes: int = Field(default=4 << 30, gt=0)
    """Most bytes that a pool's clips in flight may hold together."""

    object_store_bytes: int = Field(default=256 << 20, ge=80 << 20)
    """Size of the local Ray's object store. Frames never travel, so it may be small."""

    start_seconds: float = Field(default=300.0, gt=0)
    """How long a worker may take to find a place in the cluster and load its models."""


def load_settings(**overrides: Any) -> Settings:
    """The settings of the environment, with ``overrides`` (None: not overridden) on top.

    Raises:
        UsageError: A variable or an override has a value that is not allowed.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        where = f"setting {name!r}" if name in given else f"{PREFIX}{name.upper()}"
        raise UsageError(
            f"{where}: {first['msg']} (it is {first['input']!r})",
            hint=f"allowed settings: {', '.join(Settings.model_fields)}",
        ) from error
    return settings.model_copy(update={"cache": settings.cache.expanduser()})
