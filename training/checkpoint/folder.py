"""The folder of a run's checkpoints: names, what is whole, what is swept, what is dropped."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from infra.faults import fault_point
from infra.processes import Process, boot_id
from infra.storage import fsync_path

MANIFEST = "manifest.json"
_STEP = re.compile(r"step-(\d{8,})")
_ASIDE = re.compile(r"\.step-\d{8,}\.(?P<token>[\w-]+)\.(partial|removed)")
_TOKEN = re.compile(r"(?P<boot>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]{8}")


def attempt_token() -> str:
    """A name for this attempt at a run, which tells whether it still lives.

    Rank 0 makes one when training begins, and all ranks save under it.
    """
    ourselves = Process.find(os.getpid())
    start = ourselves.start_time if ourselves else 0
    return f"{boot_id()[:8]}-{os.getpid()}-{start}-{uuid4().hex[:8]}"


def step_folder(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of a step lies once it is whole."""
    return checkpoints / f"step-{step:08d}"


def partial_folder(checkpoints: Path, step: int, token: str) -> Path:
    """Where it is written."""
    return checkpoints / f".step-{step:08d}.{token}.partial"


def data_name(rank: int) -> str:
    """Of the file with a rank's tensors."""
    return f"rank-{rank:05d}.safetensors"


def record_name(rank: int) -> str:
    """Of the file with their addresses."""
    return f"rank-{rank:05d}.json"


def failure_name(rank: int) -> str:
    """Of the file in which a rank says why it could not write these."""
    return f"rank-{rank:05d}.failed"


def is_step(path: Path) -> bool:
    """Whether a folder is named as a checkpoint."""
    return _STEP.fullmatch(path.name) is not None


def steps(checkpoints: Path) -> list[int]:
    """Steps of which there is a checkpoint, rising."""
    if not checkpoints.is_dir():
        return []
    matches = (_STEP.fullmatch(entry.name) for entry in checkpoints.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def sweep(checkpoints: Path, token: str) -> None:
    """Remove what earlier attempts at the run left half written or half removed.

    Args:
        checkpoints: The run's folder of checkpoints.
        token: Of this attempt. What belongs to it, or to one whose process lives on this
            machine, stays.
    """
    for entry in sorted(checkpoints.iterdir()):
        match = _ASIDE.fullmatch(entry.name)
        if match and match["token"] != token and not _alive(match["token"]):
            shutil.rmtree(entry)


def _alive(token: str) -> bool:
    """Whether the process that made a token lives on this machine, and is not this one."""
    match = _TOKEN.fullmatch(token)
    if not match or match["boot"] != boot_id()[:8] or int(match["pid"]) == os.getpid():
        return False
    owner = Process.find(int(match["pid"]))
    return owner is not None and owner.start_time == int(match["start"])


def prune(checkpoints: Path, *, newest: int, keep: int, token: str) -> None:
    """Drop old checkpoints, now that a newer one is safe.

    Args:
        checkpoints: The run's folder of checkpoints.
        newest: Step of the newer one. Any of a later step was given up when the run went on from
            an earlier one; it is dropped too.
        keep: How many stay.
        token: Of this attempt.
    """
    have = steps(checkpoints)
    past = [step for step in have if step <= newest]
    remove(checkpoints, [*past[:-keep], *(step for step in have if step > newest)], token)


def remove(checkpoints: Path, doomed: Iterable[int], token: str) -> None:
    """Remove checkpoints; a crash meanwhile leaves none that looks whole and is not."""
    asides = []
    for step in doomed:
        aside = checkpoints / f".step-{step:08d}.{token}.removed"
        step_folder(checkpoints, step).rename(aside)
        fault_point("checkpoint.aside.rename.after")
        asides.append(aside)
    if asides:
        # Before a file goes, the name must be gone from the disk for good.
        fsync_path(checkpoints)
        fault_point("checkpoint.aside.fsync.after")
    for aside in asides:
        for file in sorted(aside.iterdir()):
            file.unlink()
            fault_point("checkpoint.aside.unlink.after")
        aside.rmdir()
        fault_point("checkpoint.aside.rmdir.after")
