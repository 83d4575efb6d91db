"""How the ranks' files become a checkpoint. They meet in the file system: no collective."""

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from infra.digests import digest_bytes
from infra.errors import LakeError
from infra.faults import fault_point
from infra.storage import fsync_path, lake_errors, write_atomic
from training.checkpoint.folder import (
    MANIFEST,
    data_name,
    failure_name,
    partial_folder,
    prune,
    record_name,
    remove,
    step_folder,
)
from training.checkpoint.records import (
    File,
    Manifest,
    Piece,
    RankRecord,
    RunState,
    check_cover,
    parse,
)
from training.checkpoint.tensorfile import write_tensors

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Place:
    """Who saves, and where.

    Attributes:
        checkpoints: The run's folder of checkpoints, on a file system that all ranks see.
        rank: This one.
        ranks: How many there are.
        token: Of this attempt at the run, the same on all ranks.
        keep: Checkpoints that are kept.
        limit: Seconds to wait for the other ranks.
    """

    checkpoints: Path
    rank: int
    ranks: int
    token: str
    keep: int
    limit: float


def write_checkpoint(
    place: Place,
    step: int,
    tensors: Mapping[str, Tensor],
    pieces: tuple[Piece, ...],
    state: RunState,
) -> None:
    """Write this rank's part of a checkpoint, and see that the whole is there.

    Args:
        place: Who saves, and where.
        step: Optimizer steps that were made.
        tensors: What goes into this rank's file.
        pieces: What these are.
        state: Where the run stands.

    Raises:
        LakeError: It cannot be written, or a rank did not come in time, or could not write.
    """
    partial = partial_folder(place.checkpoints, step, place.token)
    final = step_folder(place.checkpoints, step)
    try:
        with lake_errors(final):
            _write_part(place, partial, tensors, pieces)
            if place.rank == 0:
                manifest = _gather(place, partial, step, state)
                _commit(place, partial, final, manifest)
            else:
                _await_commit(place, partial, final)
    except BaseException as error:
        # Space for others; and what is left must never be taken for a later try's part.
        with suppress(OSError):
            _withdraw(place, partial, error)
        raise
    if place.rank == 0:
        with lake_errors(final):
            prune(place.checkpoints, newest=step, keep=place.keep, token=place.token)


def _write_part(
    place: Place, partial: Path, tensors: Mapping[str, Tensor], pieces: tuple[Piece, ...]
) -> None:
    fault_point("checkpoint.mkdir.before")
    partial.mkdir(exist_ok=True)
    fault_point("checkpoint.mkdir.after")
    name = data_name(place.rank)
    sha256, size = write_tensors(partial / name, tensors)
    file = File(name=name, sha256=sha256, size=size)
    record = RankRecord(rank=place.rank, file=file, pieces=pieces)
    path = partial / record_name(place.rank)
    write_atomic(path, record.model_dump_json().encode(), point="checkpoint.record")


def _withdraw(place: Place, partial: Path, error: BaseException) -> None:
    if place.rank == 0:
        shutil.rmtree(partial)
    else:
        for name in (record_name(place.rank), data_name(place.rank)):
            (partial / name).unlink(missing_ok=True)
        # Rank 0 would wait for long.
        (partial / failure_name(place.rank)).write_text(str(error), encoding="utf-8")


def _gather(place: Place, partial: Path, step: int, state: RunState) -> Manifest:
    """Wait for every rank's record, and make the manifest of them."""
    files: list[File] = []
    pieces: list[Piece] = []
    until = time.monotonic() + place.limit
    for rank in range(place.ranks):
        path = partial / record_name(rank)
        while not path.exists():
            _heed_failures(place, partial, step)
            if time.monotonic() > until:
                raise LakeError(
                    f"rank {rank} of {place.ranks} did not write its part of the checkpoint of"
                    f" step {step} within {place.limit:g} s",
                    hint=f"see what that rank says; all must see the folder {place.checkpoints}",
                    may_pass=True,
                )
            time.sleep(_POLL_SECONDS)
        data = path.read_bytes()
        record = parse(RankRecord, path, data)
        files.append(record.file)
        files.append(File(name=path.name, sha256=digest_bytes(data), size=len(data)))
        pieces.extend(record.pieces)
    check_cover(pieces)
    return Manifest(
        step=step, ranks=place.ranks, token=place.token, state=state, files=tuple(files)
    ).sealed()


def _heed_failures(place: Place, partial: Path, step: int) -> None:
    """Give up at once where a rank says that it could not write its part.

    Whether that may pass is for that rank to say.
    """
    for rank in range(1, place.ranks):
        failure = partial / failure_name(rank)
        if failure.exists():
            raise LakeError(
                f"rank {rank} could not write its part of the checkpoint of step {step}:"
                f" {failure.read_text(encoding='utf-8')}",
                may_pass=True,
            )


def _commit(place: Place, partial: Path, final: Path, manifest: Manifest) -> None:
    """Write the manifest, and give the folder its name."""
    fault_point("checkpoint.manifest.write.before")
    with (partial / MANIFEST).open("xb") as file:
        file.write(manifest.model_dump_json(indent=1).encode())
        file.flush()
        os.fsync(file.fileno())
    fault_point("checkpoint.manifest.write.after")
    fsync_path(partial)
    fault_point("checkpoint.folder.fsync.after")
    if final.exists():
        # Of an earlier attempt that got further, but was given up: it was damaged, for one.
        remove(place.checkpoints, [manifest.step], place.token)
    fault_point("checkpoint.rename.before")
    partial.rename(final)
    fault_point("checkpoint.rename.after")
    fsync_path(place.checkpoints)
    fault_point("checkpoint.parent.fsync.after")


def _await_commit(place: Place, partial: Path, final: Path) -> None:
    """Wait until rank 0 has renamed the folder, or given up."""
    until = time.monotonic() + place.limit
    while partial.exists():
        if time.monotonic() > until:
            raise LakeError(
                f"rank 0 did not finish {final} within {place.limit:g} s",
                hint="see what rank 0 says",
                may_pass=True,
            )
        time.sleep(_POLL_SECONDS)
    path = final / MANIFEST
    if not path.is_file() or parse(Manifest, path, path.read_bytes()).token != place.token:
        raise LakeError(f"rank 0 gave {final} up", hint="see what rank 0 says", may_pass=True)
