"""Pickled originals become safetensors, once: so that nothing that runs ever unpickles.

A converted file is named by its original's digest and by how it was converted, and its own
digest lies beside it (as ``sha256sum -c`` reads it).
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infra.digests import digest_file, digest_json
from infra.errors import WeightsError
from infra.weights.cache import cache_errors, cache_folder, scratch_file, settle, write_text
from infra.weights.checkpoints import read_tensors
from infra.weights.entries import Weight
from infra.weights.frozen import read_arrays
from infra.weights.wording import shown

VERSION = 1
"""Raised whenever this module reads other numbers out of the same original."""

_MODELS = "pip install 'limelight[models]' (on a CUDA machine: 'limelight[gpu]')"
_LIST = "see `limelight weights list` for the file that is meant"
_checked: set[tuple[Path, str]] = set()


def how_of(weight: Weight) -> str:
    """How a weight is converted, in a word: what was read changes with it; empty if not at all."""
    if weight.convert is None:
        return ""
    # It is a part of a file's name, and not all file systems know a bar.
    entry = weight.entry.replace("|", "+")
    return "-".join(word for word in (weight.convert, entry, f"v{VERSION}") if word)


def converted_path(weight: Weight, digest: str) -> Path:
    """Where the converted form of a weight lies, be it there or not.

    Args:
        weight: One that is to be converted.
        digest: SHA-256 of its original.
    """
    return cache_folder() / digest[:16] / f"{weight.file}.{how_of(weight)}.safetensors"


def is_converted(weight: Weight, digest: str, *, trust: bool = True) -> bool:
    """Whether a weight's converted form is there, and is what was written.

    Args:
        weight: One that is to be converted.
        digest: SHA-256 of its original.
        trust: Hash it once a process; every time otherwise.
    """
    path = converted_path(weight, digest)
    try:
        written = _record(path).read_text().split()[0]
        if trust and (path, written) in _checked:
            return path.exists()
        if digest_file(path) != written:
            return False
    except (OSError, UnicodeDecodeError, IndexError):
        return False
    _checked.add((path, written))
    return True


def require_packages(weight: Weight) -> None:
    """Make sure that a weight could be converted here, before it is fetched.

    Raises:
        WeightsError: A package is missing.
    """
    needed = {"torch": ("torch", "safetensors"), "arrays": ("safetensors",), None: ()}
    missing = [name for name in needed[weight.convert] if find_spec(name) is None]
    if missing:
        raise WeightsError(
            f"the weight {weight.name} is read with {', '.join(missing)}, not installed here",
            hint=_MODELS,
        )


def convert(weight: Weight, original: Path, digest: str) -> Path:
    """Read a pickled original, safely, and keep its tensors as safetensors.

    Args:
        weight: How it is to be read.
        original: The file.
        digest: Its SHA-256, already checked.

    Returns:
        The converted file.

    Raises:
        WeightsError: The original is damaged, is another kind of file, lacks the entry, or
            asks to run code; or a package is missing. Nothing is kept, nothing has run.
    """
    require_packages(weight)
    path = converted_path(weight, digest)
    tensors: Mapping[str, Any]
    if weight.convert == "torch":
        tensors = read_tensors(original, weight.entry)
    else:
        tensors = read_arrays(original)
    _check_form(weight, original, {key: tuple(each.shape) for key, each in tensors.items()})
    with scratch_file() as temporary:
        _save(tensors, temporary, {"original": f"{weight.file} sha256:{digest}"}, weight)
        written = digest_file(temporary)
        settle(temporary, path)
    # Without this record, or with an older one, the file counts as not there.
    write_text(_record(path), f"{written}  {path.name}\n")
    return path


def signature_of(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What tells one architecture's weights from another's: a digest of their keys and shapes."""
    return digest_json({key: list(shape) for key, shape in shapes.items()})[:16]


def _check_form(weight: Weight, original: Path, found: Mapping[str, tuple[int, ...]]) -> None:
    """Make sure that what was read has the keys and shapes of what was meant.

    Otherwise another file would be pinned, and the right one refused from then on.
    """
    wrong = ""
    if weight.signature and signature_of(found) != weight.signature:
        wrong = f"its {len(found)} tensors have other names or shapes"
    for key, shape in weight.shapes.items():
        if key not in found:
            wrong = f"it lacks {key}"
        elif len(found[key]) != len(shape) or any(
            length not in (0, actual) for length, actual in zip(shape, found[key], strict=True)
        ):
            wrong = f"its {key} has another shape"
    if wrong:
        raise WeightsError(f"{original.name} is not the weight {weight.name}: {wrong}", hint=_LIST)


def _save(tensors: Any, path: Path, origin: dict[str, str], weight: Weight) -> None:
    """Write a safetensors file, and make sure that it can be read again."""
    from safetensors import safe_open

    package = "torch" if weight.convert == "torch" else "numpy"
    save_file = import_module(f"safetensors.{package}").save_file
    try:
        with cache_errors():
            save_file(tensors, path, metadata=origin)
            with safe_open(path, framework="np") as file:
                kept = set(file.keys())
        if kept != tensors.keys():
            raise ValueError("its keys are not all kept")
    except WeightsError:
        raise
    except Exception as error:  # keys of a file's own choice can end in any of them
        raise WeightsError(
            f"{weight.file} cannot be kept as safetensors: {shown(str(error))}", hint=_LIST
        ) from error


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
