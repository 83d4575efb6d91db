"""Reads a checkpoint: any cut of any parameter, whatever cut was written."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from infra.digests import digest_file
from infra.errors import LakeError
from training.checkpoint.folder import MANIFEST, data_name, record_name
from training.checkpoint.fragments import QuantisedRun, cut_blocks
from training.checkpoint.packing import RANDOM
from training.checkpoint.randomness import restore_random, seed_random
from training.checkpoint.records import File, Manifest, Piece, RankRecord, damaged, parse


class StoredCheckpoint:
    """A checkpoint in its folder; a `training.checkpoint.fragments.CheckpointReader`.

    Tensors are read when asked for, and no more of them than that.

    Args:
        path: Its folder.
        verify: Read all files once to compare their digests; else only the small ones.

    Attributes:
        path: The same.
        manifest: What it says of itself.

    Raises:
        LakeError: There is none, or a file of it is damaged; the message names the file.
    """

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        self.path = path
        self.manifest = _manifest(path / MANIFEST)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda file: _check(path, file, verify), self.manifest.files))
        self._files: dict[int, Any] = {}

    @property
    def step(self) -> int:
        """Optimizer steps that were made."""
        return self.manifest.step

    @property
    def scalars(self) -> Mapping[str, int | float]:
        """``step``, ``epoch``, ``position``, and the engine's."""
        state = self.manifest.state
        known = {"step": self.step, "epoch": state.epoch, "position": state.position}
        return {**state.scalars, **known}

    def names(self, what: str) -> tuple[str, ...]:
        """Parameters of which ``what`` was saved, sorted."""
        return tuple(sorted(name for name, kept in self._pieces if kept == what))

    def kept(self) -> frozenset[str]:
        """All that was saved of some parameter: "value", "ema", ..."""
        return frozenset(kept for _, kept in self._pieces)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a whole parameter.

        Raises:
            LakeError: It was not saved.
        """
        if name not in self._shapes:
            raise self._missing(name, "anything")
        return self._shapes[name]

    def read(self, name: str, what: str, start: int, length: int) -> Tensor:
        """Elements of a flattened parameter on the CPU, float32 (length,), dequantised if need be.

        Args:
            name: Of the parameter.
            what: What was kept of it.
            start: First element.
            length: How many.

        Raises:
            LakeError: They were not saved.
        """
        result = torch.empty(length, dtype=torch.float32)
        for rank, piece, first, last in self._overlaps(name, what, start, length):
            place = result[piece.start + first - start : piece.start + last - start]
            if what in piece.floats:
                place.copy_(self._load(rank, piece.floats[what], first, last))
            else:
                place.copy_(self._load_codes(rank, piece, what, first, last).dequantise())
        return result

    def read_quantised(self, name: str, what: str, start: int, length: int) -> QuantisedRun | None:
        """The same as its 8-bit codes; None where any of it was saved unquantised."""
        overlaps = self._overlaps(name, what, start, length)
        if any(what in piece.floats for _, piece, _, _ in overlaps):
            return None
        return QuantisedRun.join(
            [
                self._load_codes(rank, piece, what, first, last)
                for rank, piece, first, last in overlaps
            ]
        )

    def restore_random(self, rank: int, ranks: int) -> bool:
        """Put a rank's random generators where they were.

        Returns:
            False where another number of ranks saved: then they are seeded by arithmetic, out of
            the run's seed, the rank and the step.
        """
        if ranks != self.manifest.ranks:
            seed_random(self.manifest.state.seed, rank, self.step)
            return False
        keys: list[str] = self._file(rank).keys()
        states = (key for key in keys if key.startswith(RANDOM))
        restore_random({key.removeprefix(RANDOM): self._load(rank, key) for key in states})
        return True

    @cached_property
    def _pieces(self) -> dict[tuple[str, str], list[tuple[int, Piece]]]:
        """Who has which elements, rising, by the parameter's name and what is kept of it."""
        found: dict[tuple[str, str], list[tuple[int, Piece]]] = {}
        for rank in range(self.manifest.ranks):
            path = self.path / record_name(rank)
            for piece in parse(RankRecord, path, path.read_bytes()).pieces:
                for what in [*piece.floats, *piece.codes]:
                    found.setdefault((piece.name, what), []).append((rank, piece))
        for pieces in found.values():
            pieces.sort(key=lambda each: each[1].start)
        return found

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: pieces[0][1].shape for (name, _), pieces in self._pieces.items()}

    def _overlaps(
        self, name: str, what: str, start: int, length: int
    ) -> list[tuple[int, Piece, int, int]]:
        """(Rank, piece, first and last element within it) of all that holds these elements."""
        pieces = self._pieces.get((name, what))
        if pieces is None:
            raise self._missing(name, what)
        stop, total = start + length, math.prod(pieces[0][1].shape)
        if not 0 <= start < stop <= total:
            raise ValueError(f"elements {start} to {stop} of {name}, which has {total}")
        return [
            (rank, piece, max(start - piece.start, 0), min(stop - piece.start, piece.length))
            for rank, piece in pieces
            if piece.start < stop and start < piece.start + piece.length
        ]

    def _missing(self, name: str, what: str) -> LakeError:
        return LakeError(
            f"{self.path} holds nothing of {name} as {what}; it holds"
            f" {', '.join(sorted(self.kept()))} of {len(self._shapes)}"
            " parameters",
            hint="resume with the recipe that it was saved with",
        )

    def _file(self, rank: int) -> Any:
        if rank not in self._files:
            path = self.path / data_name(rank)
            try:
                self._files[rank] = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise damaged(path, str(error)) from error
        return self._files[rank]

    def _load(self, rank: int, key: str, first: int = 0, last: int | None = None) -> Tensor:
        try:
            tensor: Tensor = self._file(rank).get_slice(key)[first:last]
        except (SafetensorError, OSError) as error:
            raise damaged(self.path / data_name(rank), str(error)) from error
        return tensor

    def _load_codes(
        self, rank: int, piece: Piece, what: str, first: int, last: int
    ) -> QuantisedRun:
        key, code_map = piece.codes[what]
        blocks, bounds = cut_blocks(self._load(rank, f"{key}.bounds"), first, last)
        return QuantisedRun(
            self._load(rank, f"{key}.codes", first, last),
            self._load(rank, f"{key}.absmax", blocks.start, blocks.stop),
            bounds,
            self._load(rank, code_map),
        )


def _manifest(path: Path) -> Manifest:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    manifest = parse(Manifest, path, data)
    if manifest.sealed().digest != manifest.digest:
        raise damaged(path, "it has another digest than it says")
    return manifest


def _check(folder: Path, file: File, contents: bool) -> None:
    """Compare a file with what the manifest says of it."""
    path = folder / file.name
    try:
        size = path.stat().st_size
        if size != file.size:
            raise damaged(path, f"it has {size} bytes, not {file.size}")
        if contents or path.suffix == ".json":
            digest = digest_file(path)
            if digest != file.sha256:
                raise damaged(path, f"its digest is {digest}, not {file.sha256}")
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
