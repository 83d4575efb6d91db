"""Is everything here that Limelight needs? One line each, with what to do where not."""

import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
from packaging.requirements import Requirement

from catalog.lake import Lake
from flows.server import server_status
from infra import weights
from infra.errors import LimelightError

ENOUGH_MEMORY = 6 << 30
ENOUGH_DISK = 5 << 30

TRAINING = (
    "torch",
    "deepspeed",
    "diffusers",
    "transformers",
    "bitsandbytes",
    "safetensors",
    "tensorboard",
)
"""What the extra `train` brings."""

_SHOWN = TRAINING[:3]
_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")


class Finding(NamedTuple):
    """One line of the doctor's report.

    Attributes:
        what: Was looked at.
        state: ``good``, ``note`` (works, but read it) or ``bad`` (will not work).
        found: What was found.
        do: What to do about it.
    """

    what: str
    state: Literal["good", "note", "bad"]
    found: str
    do: str = ""


def examine(lake: Path) -> list[Finding]:
    """Look at the machine, the packages, the weights, the lake and its server."""
    return [
        *_machine(lake),
        gpus(),
        _packages(),
        training_packages(),
        *_weights(),
        *_lake(lake),
    ]


def gpus() -> Finding:
    """NVIDIA's GPUs, as the driver's own tool lists them: torch would take seconds to import."""
    try:
        asked = subprocess.run(_NVIDIA_SMI, capture_output=True, text=True, timeout=20, check=True)
    except FileNotFoundError:
        return Finding(
            "GPUs",
            "good",
            "none: there is no NVIDIA driver (its tool nvidia-smi is not installed),"
            " so everything runs on the processor",
            "if there is a GPU, install NVIDIA's driver for it",
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(
            "GPUs",
            "note",
            f"unknown: NVIDIA's driver is installed, but does not answer: {_said(error)}",
            "run nvidia-smi to see why; a driver that was updated needs a restart of the machine,"
            " a container needs to be started with its GPUs (docker run --gpus all)",
        )
    found = "; ".join(asked.stdout.split("\n")).strip("; ")
    if "+cpu" in _versions(("torch",)).get("torch", ""):
        return Finding(
            "GPUs", "note", f"{found}; torch is built without CUDA", "install torch's CUDA build"
        )
    return Finding("GPUs", "good", found)


def _said(error: Exception) -> str:
    """What a tool said of its failure, else what Python says of it."""
    words = getattr(error, "stderr", None) or getattr(error, "stdout", None)
    return " ".join(words.split()) if isinstance(words, str) and words.strip() else str(error)


def training_packages() -> Finding:
    """The extra `train`, by the records of what is installed: nothing of it is imported."""
    versions = _versions(TRAINING)
    wrong = [f"{name} is missing" for name in TRAINING if name not in versions]
    wrong = wrong or list(_unmet("train"))
    return Finding(
        "training packages",
        "note" if wrong else "good",
        "; ".join(wrong) or ", ".join(f"{name} {versions[name]}" for name in _SHOWN),
        "to train and relight: pip install 'limelight[train]' -c constraints.txt" if wrong else "",
    )


def _machine(lake: Path) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    yield Finding("processor cores", "good", str(cores))
    memory = psutil.virtual_memory().available
    yield Finding(
        "free memory",
        "good" if memory >= ENOUGH_MEMORY else "note",
        f"{memory / 1e9:.1f} GB",
        "" if memory >= ENOUGH_MEMORY else "set [engine] workers = 1 and a smaller frame_bytes",
    )
    folder = lake.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield Finding(
        "free disk",
        "good" if free >= ENOUGH_DISK else "note",
        f"{free / 1e9:.1f} GB at {folder}",
        "" if free >= ENOUGH_DISK else "free some space, or choose another --lake",
    )
    shm = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").exists() else 0
    yield Finding(
        "shared memory",
        "good" if shm >= 256 << 20 else "note",
        f"{shm / 1e6:.0f} MB",
        "" if shm >= 256 << 20 else "Ray will use the disk instead: slower, but it works",
    )


def _packages() -> Finding:
    wrong = list(_unmet())
    return Finding(
        "packages",
        "bad" if wrong else "good",
        "; ".join(wrong) or "all there, at versions that work together",
        "pip install -c constraints.txt -e ." if wrong else "",
    )


def _unmet(extra: str = "") -> Iterator[str]:
    """What is not here, in words, of all that Limelight asks for, or of what an extra adds."""

    def asked(requirement: Requirement, extra: str) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({"extra": extra})

    for requirement in map(Requirement, importlib.metadata.requires("limelight") or []):
        if not asked(requirement, extra) or (extra and asked(requirement, "")):
            continue
        version = _versions((requirement.name,)).get(requirement.name)
        if version is None:
            yield f"{requirement.name} is missing"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} {version} is not {requirement.specifier}"


def _versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _weights() -> Iterator[Finding]:
    try:
        found = [weights.standing(name) for name in weights.registry()]
    except LimelightError as error:
        yield Finding("weights", "bad", error.message, error.hint)
        return
    damaged = [each.weight.name for each in found if each.state == "damaged"]
    if damaged:
        yield Finding(
            "damaged weights",
            "bad",
            ", ".join(damaged),
            f"limelight weights pull {' '.join(damaged)}",
        )
    embedded = [each for each in found if each.weight.embedded]
    absent = [each.weight.name for each in embedded if each.state == "absent"]
    if absent:
        yield Finding("weights", "note", f"absent: {', '.join(absent)}", "limelight weights pull")
    elif not damaged:
        yield Finding("weights", "good", f"{len(embedded)} files, all as published")
    standard = [each for each in found if not each.weight.embedded]
    here = [each.weight.name for each in standard if each.state == "present"]
    yield Finding(
        "standard models",
        "good" if len(here) == len(standard) else "note",
        f"{len(here)} of {len(standard)} weights: {', '.join(here)}" if here else "no weights",
        "" if len(here) == len(standard) else "limelight weights list",
    )


def _lake(path: Path) -> Iterator[Finding]:
    try:
        root = Lake.open(path).root
    except LimelightError as error:
        yield Finding("lake", "note", error.message, error.hint)
        return
    writable = os.access(root, os.W_OK)
    yield Finding(
        "lake",
        "good" if writable else "bad",
        str(root),
        "" if writable else "make it writable, or choose another with --lake",
    )
    server = server_status(root)
    if server is None:
        yield Finding(
            "Prefect server", "note", "not running", "started by a build, or limelight up"
        )
    else:
        yield Finding("Prefect server", "good", server.url)
