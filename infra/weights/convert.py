"""Pickled originals become safetensors, once: so that nothing that runs ever unpickles.

A converted file is named by its original's digest and by how it was converted, and its own
digest lies beside it (as ``sha256sum -c`` reads it).
"""

import pickle
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infra.digests import digest_file
from infra.errors import WeightsError
from infra.weights.cache import cache_errors, cache_folder, scratch_file, settle, write_text
from infra.weights.entries import Weight
from infra.weights.frozen import read_arrays

VERSION = 1
"""Raised whenever this module reads other numbers out of the same original."""

_MODELS = "pip install 'limelight[models]' (on a CUDA machine: 'limelight[gpu]')"
_LIST = "see `limelight weights list` for the file that is meant"
_checked: set[tuple[Path, str]] = set()


def converted_path(weight: Weight, digest: str) -> Path:
    """Where the converted form of a weight lies, be it there or not.

    Args:
        weight: One that is to be converted.
        digest: SHA-256 of its original.
    """
    how = "-".join(word for word in (weight.convert, weight.entry, f"v{VERSION}") if word)
    return cache_folder() / digest[:16] / f"{weight.file}.{how}.safetensors"


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
    except (FileNotFoundError, NotADirectoryError, IndexError):
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
    with scratch_file() as temporary:
        origin = {"original": f"{weight.file} sha256:{digest}"}
        if weight.convert == "torch":
            from safetensors.torch import save_file as save_tensors

            tensors = read_tensors(original, weight.entry)
            with cache_errors():
                save_tensors(tensors, temporary, metadata=origin)
        else:
            from safetensors.numpy import save_file as save_arrays

            arrays = read_arrays(original)
            with cache_errors():
                save_arrays(arrays, temporary, metadata=origin)
        written = digest_file(temporary)
        settle(temporary, path)
    # Without this record, or with an older one, the file counts as not there.
    write_text(_record(path), f"{written}  {path.name}\n")
    return path


def read_tensors(path: Path, entry: str = "") -> dict[str, Any]:
    """Tensors of a torch checkpoint, by key; nothing in it is executed.

    Args:
        path: What ``torch.save`` wrote.
        entry: The entry that holds them; empty where the checkpoint is a bare state dict.

    Raises:
        WeightsError: It is damaged, asks to run code, or does not hold such tensors.
    """
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch's message is long, and advises to trust the file.
        asked = re.search(r"GLOBAL ([\w.]+)|class ([\w.]+)", str(error))
        if asked:
            raise WeightsError(
                f"{path.name} asks for {asked[1] or asked[2]}, which has no business in a weight: "
                "refused, unread",
                hint="do not use this file; take it from its publisher again",
            ) from error
        raise _damaged(path) from error
    except Exception as error:  # bytes that are no checkpoint can end in any of them
        raise _damaged(path) from error
    if not isinstance(loaded, dict):
        raise WeightsError(f"{path.name} holds a {type(loaded).__name__}, no weights", hint=_LIST)
    if entry and not isinstance(loaded.get(entry), dict):
        raise WeightsError(
            f"{path.name} has no entry {entry!r}; its entries are {_some(list(loaded))}", hint=_LIST
        )
    chosen = loaded[entry] if entry else loaded
    # Cloned, for a safetensors file holds no two names of the same memory.
    tensors = {
        key: value.detach().clone().contiguous()
        for key, value in chosen.items()
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise WeightsError(
            f"{path.name} holds no tensors; its entries are {_some(list(chosen))}", hint=_LIST
        )
    return tensors


def _damaged(path: Path) -> WeightsError:
    return WeightsError(
        f"{path.name} is damaged (perhaps cut short), or no checkpoint of torch",
        hint="take it from its publisher again",
    )


def _some(names: list[Any]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(map(str, names[:8])) or "none") + more


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
