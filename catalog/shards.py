"""Tar shards: ordinary tar files that WebDataset reads in order and an index at random."""

import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from infra.digests import CHUNK
from infra.errors import LakeError
from infra.faults import fault_point
from infra.storage import fsync_path, lake_errors

_BLOCK = tarfile.BLOCKSIZE
_END = 2 * _BLOCK
"""A tar file ends with two blocks of zeros."""


@dataclass(frozen=True)
class Source:
    """Bytes to be put into a shard.

    Attributes:
        name: Member name, such as ``video.mp4``.
        data: The bytes, or the file that holds them.
        digest: SHA-256 that they must have.
        size: How many they are.
    """

    name: str
    data: bytes | Path
    digest: str
    size: int


@dataclass(frozen=True)
class Placed:
    """Where a member's bytes lie.

    Attributes:
        name: Member name, such as ``video.mp4``.
        shard: File name of the shard.
        offset: Of the first byte in the shard.
        size: Bytes.
        crc32: Of the bytes, for a quick check at every read.
        sha256: Of the bytes, 64 hexadecimal digits.
    """

    name: str
    shard: str
    offset: int
    size: int
    crc32: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
        name: Its file name.
        size: Bytes.
        sha256: Of the whole file, 64 hexadecimal digits.
        samples: How many samples it holds.
    """

    name: str
    size: int
    sha256: str
    samples: int


class ShardWriter:
    """Writes samples into ``<prefix>-00000.tar``, ``-00001.tar``, ...

    A shard is closed before the sample that would take it beyond the target; a sample is
    never cut, so one that is larger than the target has a shard of its own. Headers are plain
    ustar with no time and no owner: equal samples in equal order give equal bytes.

    Args:
        folder: Where the shards go; it must exist.
        prefix: First part of their names (the split).
        target: Size in bytes that a shard should stay below.
    """

    def __init__(self, folder: Path, prefix: str, target: int) -> None:
        self.shards: list[Shard] = []
        self._folder = folder
        self._prefix = prefix
        self._target = target
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self._samples = 0

    def add(self, key: str, members: Sequence[Source]) -> list[Placed]:
        """Append a sample as the files ``<key>.<member name>``.

        Raises:
            LakeError: A member does not have its digest, or the disk is full or read-only.
            ValueError: The names are too long for a ustar header (100 bytes).
        """
        with lake_errors(self._folder):
            length = sum(_BLOCK + _padded(member.size) for member in members)
            if self._file and self._size + length + _END > self._target:
                self._close_shard()
            if not self._file:
                fault_point("shard.write.before")
                self._file = (self._folder / self._name).open("xb")
            placed = [self._add(self._file, key, member) for member in members]
            self._samples += 1
            return placed

    def close(self) -> None:
        """Finish the last shard.

        Raises:
            LakeError: The disk is full or read-only.
        """
        with lake_errors(self._folder):
            if self._file:
                self._close_shard()

    def abandon(self) -> None:
        """Let go of an unfinished shard's file, which the caller will remove."""
        if self._file:
            self._file.close()
            self._file = None

    @property
    def _name(self) -> str:
        return f"{self._prefix}-{len(self.shards):05d}.tar"

    def _add(self, file: BinaryIO, key: str, member: Source) -> Placed:
        header = tarfile.TarInfo(f"{key}.{member.name}")
        header.size = member.size
        header.mode = 0o644
        self._write(file, header.tobuf(tarfile.USTAR_FORMAT))
        offset, crc32, sha256 = self._size, 0, hashlib.sha256()
        with _opened(member.data) as data:
            while chunk := data.read(CHUNK):
                crc32 = zlib.crc32(chunk, crc32)
                sha256.update(chunk)
                self._write(file, chunk)
        if self._size - offset != member.size or sha256.hexdigest() != member.digest:
            raise LakeError(
                f"{member.name} of clip {key} is not the file that its outcome names "
                f"({member.data if isinstance(member.data, Path) else 'in memory'})",
                hint="the disk has changed it: run `limelight sweep`, then `limelight rerun`",
            )
        self._write(file, bytes(_padded(member.size) - member.size))
        return Placed(member.name, self._name, offset, member.size, crc32, member.digest)

    def _write(self, file: BinaryIO, data: bytes) -> None:
        file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def _close_shard(self) -> None:
        file, path = self._file, self._folder / self._name
        assert file is not None
        self._write(file, bytes(_END))
        file.close()
        self._file = None
        fault_point("shard.write.after")
        fault_point("shard.fsync.before")
        fsync_path(path)
        fault_point("shard.fsync.after")
        shard = Shard(path.name, self._size, self._hash.hexdigest(), self._samples)
        self.shards.append(shard)
        self._hash, self._size, self._samples = hashlib.sha256(), 0, 0
        fault_point("shard.close.after")


def read_at(path: Path, offset: int, size: int) -> bytes:
    """``size`` bytes of a file from ``offset`` on; fewer where the file ends before."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.pread(handle, size, offset)
    finally:
        os.close(handle)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


@contextmanager
def _opened(data: bytes | Path) -> Iterator[BinaryIO]:
    with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as file:
        yield file
