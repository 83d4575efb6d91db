"""Where each weight lies on this machine, whether it is the right one, and what to do if not."""

from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import Literal

from infra.errors import WeightsError
from infra.weights.cache import cache_folder, known_digest
from infra.weights.convert import converted_path, is_converted
from infra.weights.entries import RegisterSource, Weight, find_weight, own_folder
from infra.weights.pins import another_file, pinned
from infra.weights.sources import sources_of

State = Literal["present", "absent", "damaged"]


@dataclass(frozen=True)
class Standing:
    """How things stand with a weight on this machine.

    Attributes:
        weight: Which.
        state: ``present``, ``absent``, or ``damaged``: there is a file, but another one or none
            that can be read.
        path: The file.
        digest: SHA-256 of the file.
        wanted: SHA-256 that it must have, published or pinned; empty while neither.
        reason: Why it cannot be read, if it cannot.
    """

    weight: Weight
    state: State
    path: Path | None = None
    digest: str = ""
    wanted: str = ""
    reason: str = ""


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
    for path in places_of(weight, wanted):
        try:
            # A pipe of that name would be waited for for ever.
            reason = "" if S_ISREG(path.stat().st_mode) else "no regular file"
            digest = "" if reason else known_digest(path, trust=trust)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            reason, digest = error.strerror or str(error), ""
        if reason:
            found = Standing(weight, "damaged", path, wanted=wanted, reason=reason)
            continue
        if digest == wanted or not wanted:
            return Standing(weight, "present", path, digest, wanted)
        found = Standing(weight, "damaged", path, digest, wanted)
        if not weight.sha256:
            return found
    if found.state == "absent" and weight.convert and wanted:
        path = converted_path(weight, wanted)
        # What the original was needed for has been done.
        if is_converted(weight, wanted, trust=trust):
            return Standing(weight, "present", path, wanted, wanted)
        if path.exists():
            reason = "its conversion is damaged, and the original is not here"
            return Standing(weight, "damaged", path, wanted=wanted, reason=reason)
    return found


def verify(name: str) -> Standing:
    """Hash the local files of ``name``: are they there, and right? Fetches nothing."""
    found = standing(name, trust=False)
    if found.state == "present" and found.weight.convert:
        path = converted_path(found.weight, found.digest)
        whole = found.path == path or is_converted(found.weight, found.digest, trust=False)
        if path.exists() and not whole:
            return replace(found, state="damaged", path=path, reason="its conversion is damaged")
    return found


def places_of(weight: Weight, wanted: str) -> list[Path]:
    """Where a weight may lie, in the order in which it is looked for.

    Args:
        weight: Which.
        wanted: SHA-256 of its file; empty while unknown, when only one's own folder counts.
    """
    own = own_folder()
    # The digest is in the path, so that several versions may share the folder.
    kept = [cache_folder() / wanted[:16] / weight.file] if wanted else []
    return [*([own / weight.file] if own else []), *kept]


def refuse_change(found: Standing) -> None:
    """Make sure that nobody put another file where the pinned one was, or what is no file.

    Raises:
        WeightsError: Somebody did; it is named, with both digests.
    """
    own = own_folder()
    here = own is not None and found.path == own / found.weight.file
    if here and found.state == "damaged" and not found.weight.sha256:
        if found.reason:
            raise WeightsError(f"cannot read {found.path}: {found.reason}", hint="take it away")
        raise another_file(found.weight, found.digest, found.wanted, found.path or "")


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
