"""What several tests share."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The team's folder of goldens, media and weights; tests skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}, which is absent here")
    return SHARED
