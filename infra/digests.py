"""Digests of content: files, and canonical JSON."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_bytes(data: bytes) -> str:
    """SHA-256 of ``data``, in 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> str:
    """The one JSON text of ``value``: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_json(value: Mapping[str, Any] | list[Any]) -> str:
    """SHA-256 of the canonical JSON of ``value``: equal values, equal digests."""
    return digest_bytes(canonical_json(value).encode())
