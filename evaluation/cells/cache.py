"""Features by content: of which film, found by what. Looked at once, kept for good."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.digests import digest_json
from infra.storage import write_atomic

FORMAT = 1

_SEAL = "seal"


class FeatureCache:
    """The folder of features; many may read and write it at once.

    A file holds arrays, and a digest of them by which a damaged one is known, and counts as none.

    Args:
        folder: Made where it is missing, once something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, film: str, extractor: str) -> Path:
        """Where features lie.

        Args:
            film: Digest of the film.
            extractor: Digest of what found them.
        """
        key = digest_json({"format": FORMAT, "film": film, "extractor": extractor})[:32]
        return self._folder / f"{key}.npz"

    def load(self, film: str, extractor: str) -> dict[str, NDArray[Any]] | None:
        """Features by name; None where there are none, or the file is damaged."""
        try:
            with np.load(self.path(film, extractor), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            seal = arrays.pop(_SEAL)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError):
            return None
        return arrays if seal.tobytes() == _seal(arrays) else None

    def store(self, film: str, extractor: str, features: Mapping[str, NDArray[Any]]) -> None:
        """Keep features, in place of others of the same film and extractor.

        Raises:
            ValueError: A feature is called as the digest is.
            LakeError: The disk is full or read-only.
        """
        if _SEAL in features:
            raise ValueError(f"no feature may be called {_SEAL!r}")
        data = io.BytesIO()
        seal = np.frombuffer(_seal(features), np.uint8)
        np.savez(data, allow_pickle=False, **{_SEAL: seal}, **features)
        write_atomic(self.path(film, extractor), data.getvalue(), point="benchmark.features")


def _seal(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        sha.update(f"{name} {array.dtype.str} {array.shape};".encode())
        sha.update(array.tobytes())
    return sha.digest()
