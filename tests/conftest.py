"""What several tests share."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from flows.server import (
    Server,
    client_environment,
    ensure_server,
    server_status,
    start_server,
    stop_server,
)

if TYPE_CHECKING:
    import torch

# Two workers of pytest share two cores, and each may use torch: see `yielding_threads`.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

SLOWEST = (
    "cli",
    "control",
    "train_for_real",
    "train_flow",
    "training",
    "crash",
    "standard_build",
    "builder",
    "benchmark_flow",
    "metrics_move",
    "hostile_build",
    "engine_training",
    "serving",
    "media",
    "engine_poison",
    "attach",
)
"""Files begun first, the longest before the others, so that no worker is left alone with one."""

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first; all else stays in its order."""
    place = {f"test_{name}": number for number, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The team's folder of goldens, media and weights; tests skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}, which is absent here")
    return SHARED


@pytest.fixture(scope="session")
def gpu() -> "torch.device":
    """A CUDA GPU, for tests marked ``cuda``; they skip where there is none."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU, and there is none here")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real Prefect server, of a lake whose name is no URL; started twice, to stand once."""
    lake = tmp_path_factory.mktemp("prefect") / "a lake?#%41"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        start_server(lake)
        start_server(lake)
        ensure_server(lake)
    server = server_status(lake)
    assert server is not None
    yield server
    stop_server(lake)


@pytest.fixture
def prefect_api(prefect_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of the real server's API, which this process and its children then use."""
    from prefect.context import SettingsContext, get_settings_context
    from prefect.settings import Settings

    lake, api_url = prefect_server.home.parent, prefect_server.api_url
    for name, value in client_environment(lake, api_url).items():
        monkeypatch.setenv(name, value)
    # Prefect may have read its settings from the environment long ago.
    with SettingsContext(profile=get_settings_context().profile, settings=Settings()):
        yield api_url
