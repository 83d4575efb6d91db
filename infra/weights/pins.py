"""Pins: digests recorded at first use of files whose publisher names none.

From then on the file must stay the same, as if the digest had been published: it decides what
is computed anew. They lie in ``pins.toml`` in the cache, a line each, for people to read.
"""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

from infra.errors import WeightsError
from infra.weights.cache import cache_folder, locked, write_text
from infra.weights.entries import Weight

_HEAD = """\
# Digests (sha256) of weights whose publishers name none, recorded at first use.
# To accept another file: limelight weights pull NAME --from PATH --replace
"""


def pinned(name: str) -> str:
    """The digest recorded for the weight ``name``, or an empty string.

    Raises:
        WeightsError: The record is damaged.
    """
    return str(_read().get(name, {}).get("sha256", ""))


def pin(weight: Weight, digest: str, *, replace: bool = False) -> None:
    """Record the digest of a weight, once.

    Args:
        weight: Of which no digest is published.
        digest: SHA-256 of the file that was met.
        replace: Forget another digest that was recorded before.

    Raises:
        WeightsError: Another digest is recorded, and is not to be replaced.
    """
    with locked("pins"):
        known = _read()
        before = known.get(weight.name, {}).get("sha256", digest)
        if before != digest and not replace:
            raise another_file(weight, digest, before)
        if before == digest and weight.name in known:
            return
        day = datetime.now(UTC).date().isoformat()
        known[weight.name] = {"sha256": digest, "file": weight.file, "since": day}
        lines = [
            f"{name} = {{ {', '.join(f'{key} = {_quote(str(v))}' for key, v in entry.items())} }}"
            for name, entry in sorted(known.items())
        ]
        write_text(_path(), _HEAD + "\n".join(lines) + "\n")


def another_file(weight: Weight, digest: str, wanted: str, where: str = "") -> WeightsError:
    """The error that a file is not the one whose digest was recorded."""
    return WeightsError(
        f"{where or weight.file} is another file than the weight {weight.name} was so far: "
        f"sha256 {digest}, not {wanted}",
        hint="take it away or put the old one back; or accept it: "
        f"limelight weights pull {weight.name} --from {where or 'PATH'} --replace",
    )


def _path() -> Path:
    return cache_folder() / "pins.toml"


def _read() -> dict[str, dict[str, str]]:
    try:
        return tomllib.loads(_path().read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"the record of digests {_path()} is damaged: {error}",
            hint="mend it by hand, or remove it to trust the files that are here now",
        ) from error


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
