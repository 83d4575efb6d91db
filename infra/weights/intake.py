"""How files come in: fetched, given by hand or found; judged, converted, kept, pinned."""

import shutil
from contextlib import suppress
from pathlib import Path

from infra.digests import digest_file
from infra.errors import WeightsError
from infra.weights.archives import extract_member
from infra.weights.cache import cache_folder, locked, scratch_file, settle
from infra.weights.convert import convert, is_converted, require_packages
from infra.weights.entries import Weight, own_folder, registry
from infra.weights.fetch import Progress
from infra.weights.pins import pin, pinned
from infra.weights.places import Standing, by_hand, standing
from infra.weights.sources import Fetchable, check_file, fetched, key_of, member_in, sources_of


def accept(found: Standing, progress: Progress) -> None:
    """Convert and pin a file that lies in its place already, where that is still to be done.

    Raises:
        WeightsError: It cannot be converted, or another file was pinned meanwhile.
    """
    weight = found.weight
    unread = weight.convert and not is_converted(weight, found.digest)
    if found.path and (unread or not found.wanted):
        _take(weight, found.path, found.path, progress)


def take_copy(weight: Weight, path: Path, replace: bool, progress: Progress) -> None:
    """Take a file that a person got: copy it into the cache, and judge the copy.

    Args:
        weight: What it is meant for.
        path: The file, of any name.
        replace: Accept it although another one was pinned.
        progress: Told what is happening.

    Raises:
        WeightsError: It cannot be read or converted, is not the right one, or another one
            lies in the folder of one's own, which goes first.
    """
    _check_own(weight, path)
    with scratch_file() as copy:
        progress(f"copying {path.name}", 0, 0)
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            raise WeightsError(
                f"cannot copy {path}: {error.strerror or error}",
                hint="check the path, and the free space",
            ) from error
        _take(weight, copy, path, progress, keep=True, replace=replace)


def _check_own(weight: Weight, path: Path) -> None:
    """Make sure that a file about to be accepted is not hidden by another one of its name."""
    own = own_folder()
    lies = own / weight.file if own else path
    if weight.sha256 or not lies.is_file() or not path.is_file() or lies.samefile(path):
        return
    if digest_file(lies) != digest_file(path):
        raise WeightsError(
            f"{lies} is another file than {path}, and is asked first",
            hint="put the new file in its place, or take it away; then run the same command again",
        )


def fetch(weight: Weight, progress: Progress) -> None:
    """Get a weight from the first source that has it.

    Raises:
        WeightsError: None has, or only a person may ask, or it is not the right one.
    """
    sources = sources_of(weight)
    if not sources:
        raise WeightsError(
            f"{weight.file} is given to people, not to programs; its licence, {weight.licence}: "
            f"{weight.terms}",
            hint=by_hand(weight),
        )
    require_packages(weight)
    complaints = []
    for source in sources:
        with locked(key_of(source)):
            found = standing(weight.name)
            if found.state == "present":  # another process was quicker
                return accept(found, progress)
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
    with fetched(source, progress, known=known, size=weight.size) as path:
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


def _take(
    weight: Weight,
    path: Path,
    where: Path | str,
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
            try:
                convert(weight, path, digest)
            except WeightsError as error:
                # People know the file by its own name, not by that of the copy in the making.
                told = error.message.replace(path.name, str(where))
                raise WeightsError(told, hint=error.hint) from error
        if keep:
            settle(path, cache_folder() / digest[:16] / weight.file)
        if not weight.sha256:
            pin(weight, digest, replace=replace)
