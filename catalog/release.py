"""A release: an immutable version of a dataset, opened, read and verified."""

import hashlib
import json
import mmap
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.index import column
from catalog.lake import Lake
from catalog.members import check_name
from catalog.shards import read_at
from infra.digests import canonical_json, digest_file, digest_json
from infra.errors import LakeError, UsageError

FORMAT = 1
RECORD, INDEX, CARD, SHARDS = "release.json", "index.parquet", "README.md", "shards"
CURRENT = "current.json"
Progress = Callable[[int, int], None]
"""Called with the bytes done so far, and all there are."""


class Release:
    """One version of a dataset in a folder, in a lake or copied anywhere.

    Args:
        path: The version's folder.

    Attributes:
        path: The same.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, lake: Lake, name: str, version: str | None = None) -> "Release":
        """The release ``name`` of a lake: its latest version, or the one asked for.

        Raises:
            UsageError: There is no such release or version; the message names what there is.
        """
        check_name(name)
        current = lake.releases / name / CURRENT
        if version is None and current.is_file():
            version = str(json.loads(current.read_text())["version"])
        release = cls(lake.releases / name / (version or ""))
        if version is None or not (release.path / RECORD).is_file():
            known = cls.versions(lake, name)
            what = f"version {version!r} of {name!r}" if version and known else f"release {name!r}"
            raise UsageError(
                f"there is no {what} in {lake.root}; there is: {', '.join(known) or 'none'}",
                hint=f"make it: limelight build SOURCE --name {name}",
            )
        return release

    @staticmethod
    def versions(lake: Lake, name: str) -> list[str]:
        """Versions of ``name``, oldest first."""
        check_name(name)
        records = (lake.releases / name).glob(f"*/{RECORD}")
        aged = sorted((path.stat().st_mtime_ns, path.parent.name) for path in records)
        return [version for _, version in aged]

    @cached_property
    def record(self) -> dict[str, Any]:
        """What ``release.json`` says: counts, statistics, fingerprints, weights, shards.

        Raises:
            LakeError: It cannot be understood.
        """
        try:
            record: dict[str, Any] = json.loads((self.path / RECORD).read_bytes())
            if record["format"] != FORMAT:
                raise ValueError(f"its format is {record['format']}, not {FORMAT}")
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise LakeError(
                f"{self.path / RECORD} cannot be understood: {error}",
                hint="remove the folder and build the release again",
            ) from error
        return record

    @property
    def name(self) -> str:
        """Name of the release."""
        return str(self.record["name"])

    @property
    def version(self) -> str:
        """The first 12 digits of the digest."""
        return str(self.record["version"])

    @property
    def digest(self) -> str:
        """Digest of what is in it (see `catalog.publish.release_digest`)."""
        return str(self.record["digest"])

    @property
    def members(self) -> list[str]:
        """Names of the members that samples have, sorted."""
        return list(self.record["members"])

    @cached_property
    def index(self) -> pa.Table:
        """One row a sample, sorted by (split, key); columns as in `catalog.index`."""
        return pq.read_table(self.path / INDEX)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.index["key"].to_pylist())}

    def shard(self, name: str) -> Path:
        """Path of a shard, as the index names it."""
        return self.path / SHARDS / name

    def read(self, key: str, member: str) -> bytes:
        """The bytes of one member of one sample, checked.

        Raises:
            UsageError: There is no such sample, or it has no such member.
            LakeError: The bytes are not those that were written.
        """
        row = self._places.get(key)
        names = [column(member, what) for what in ("offset", "size", "crc32")]
        if row is None or names[0] not in self.index.column_names:
            raise UsageError(f"{self.path} has no sample {key!r} with a member {member!r}")
        offset, size, crc32 = (self.index[name][row].as_py() for name in names)
        if offset is None:
            raise UsageError(f"sample {key} of {self.path} has no member {member!r}")
        path = self.shard(self.index["shard"][row].as_py())
        data = read_at(path, offset, size)
        if zlib.crc32(data) != crc32:
            raise LakeError(
                f"{key}.{member} in {path} is damaged", hint=f"limelight verify {self.name}"
            )
        return data

    def verify(
        self, progress: Progress = lambda done, total: None, *, contents: bool = True
    ) -> list[str]:
        """Compare every byte of every file with its digests.

        Args:
            progress: Told the bytes read.
            contents: False leaves out the shards' bytes, and looks at their sizes only.

        Returns:
            A sentence for each thing that is wrong; empty if all is well.
        """
        try:
            record = self.record
        except LakeError as error:
            return [error.message]
        problems = [*self._files(record), *self._record(record)]
        if problems or not contents:
            return problems  # nothing to hold the shards against, or files are missing
        total = sum(shard["size"] for shard in record["shards"])
        members = self._members_by_shard()
        done = 0
        for shard in record["shards"]:
            problems += self._shard(shard, members.get(shard["name"], []))
            done += shard["size"]
            progress(done, total)
        return problems

    def _files(self, record: Mapping[str, Any]) -> Iterator[str]:
        """Missing files, foreign ones, and those of another size."""
        sizes = {f"{SHARDS}/{shard['name']}": shard["size"] for shard in record["shards"]}
        sizes |= {INDEX: record["index"]["size"], CARD: record["card"]["size"], RECORD: None}
        found = {
            str(path.relative_to(self.path)): path
            for path in self.path.rglob("*")
            if not path.is_dir() or path.is_symlink()
        }
        for name, size in sorted(sizes.items()):
            if name not in found:
                yield f"{name} is missing"
            elif size is not None and found[name].stat().st_size != size:
                yield f"{name} has {found[name].stat().st_size} bytes, not {size}"
        for name in sorted(set(found) - set(sizes)):
            yield f"{name} does not belong to the release"

    def _record(self, record: dict[str, Any]) -> Iterator[str]:
        """Whether release.json, the card and the index are those that were written."""
        written = (self.path / RECORD).read_bytes()
        if written != render_record(record).encode() or seal(record) != record["seal"]:
            yield f"{RECORD} has been changed"
        for name, file in ((CARD, record["card"]), (INDEX, record["index"])):
            path = self.path / name
            if path.is_file() and digest_file(path) != file["sha256"]:
                yield f"{name} is damaged"

    def _members_by_shard(self) -> dict[str, list[tuple[str, int, int, int, str]]]:
        found: dict[str, list[tuple[str, int, int, int, str]]] = {}
        keys, shards = (self.index[name].to_pylist() for name in ("key", "shard"))
        for member in self.members:
            places = [
                self.index[column(member, what)].to_pylist()
                for what in ("offset", "size", "crc32", "sha256")
            ]
            for key, shard, offset, size, crc32, sha256 in zip(keys, shards, *places, strict=True):
                if offset is not None:
                    where = (f"{key}.{member}", offset, size, crc32, sha256)
                    found.setdefault(shard, []).append(where)
        return found

    def _shard(
        self, shard: Mapping[str, Any], members: list[tuple[str, int, int, int, str]]
    ) -> Iterator[str]:
        path = self.shard(shard["name"])
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if hashlib.sha256(data).hexdigest() != shard["sha256"]:
                yield f"{SHARDS}/{path.name} is damaged"
            for name, offset, size, crc32, sha256 in members:
                part = data[offset : offset + size]
                if zlib.crc32(part) != crc32 or hashlib.sha256(part).hexdigest() != sha256:
                    yield f"{name} in {path.name} is damaged"


def seal(record: Mapping[str, Any]) -> str:
    """Digest of all that a record says, but for the seal itself."""
    return digest_json({key: value for key, value in record.items() if key != "seal"})


def render_record(record: Mapping[str, Any]) -> str:
    """The one text of ``release.json``."""
    return json.dumps(json.loads(canonical_json(record)), indent=2) + "\n"
