"""Taking a source up: its content id, and what its headers say."""

import shutil
from pathlib import Path
from typing import Any, TypedDict

from catalog.lake import Lake
from catalog.sources import local_copy
from infra.digests import digest_file
from infra.engine.base import Note
from infra.errors import SourceError
from stages.frames import read_headers
from stages.media import UnusableVideo


class Ingested(TypedDict):
    """What ingest learnt of one source.

    Attributes:
        clip: Content id; empty where the bytes could not be read.
        headers: Columns of the clips table that the container's headers tell; empty where
            they tell nothing (the probe will say why).
        error: Why the bytes could not be read.
    """

    clip: str
    headers: dict[str, Any]
    error: str


def clip_id(path: Path) -> str:
    """Content id of a clip: the first 32 hexadecimal digits of its bytes' SHA-256."""
    return digest_file(path)[:32]


class IngestWorker:
    """Digests sources; the engine's worker for the first step of a build.

    Args:
        lake: The lake's root.
        run: Name of the build, for the scratch folder.
    """

    def __init__(self, lake: str, run: str) -> None:
        self._scratch = Lake(lake).scratch(run)

    def run(self, payload: dict[str, str], note: Note) -> Ingested:
        """Digest one source and read its headers.

        Args:
            payload: ``{"id": ..., "uri": ...}``.
            note: Told what is under way.
        """
        note(f"{payload['uri']} ingest")
        scratch = self._scratch / f"ingest-{payload['id']}"
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            path = local_copy(payload["uri"], scratch)
            return {"clip": clip_id(path), "headers": _headers(path), "error": ""}
        except SourceError as error:
            return {"clip": "", "headers": {}, "error": error.message}
        except OSError as error:
            return {"clip": "", "headers": {}, "error": f"cannot be read: {error.strerror}"}
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def close(self) -> None:
        """Nothing is held."""


def _headers(path: Path) -> dict[str, Any]:
    try:
        headers = read_headers(path)
    except UnusableVideo:
        return {}
    return {
        "frames": headers.frames,
        "width": headers.width,
        "height": headers.height,
        "fps": float(headers.rate),
        "duration": headers.duration,
        "codec": headers.codec,
    }
