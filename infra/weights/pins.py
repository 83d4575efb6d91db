"""Pins: digests recorded at first use of files whose publisher names none.

From then on the file must stay the same, as if the digest had been published: it decides what
is computed anew. They lie in ``pins.toml`` in the cache, a line each, for people to read.
"""

import shlex
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from infra.errors import WeightsError
from infra.weights.cache import cache_folder, locked, write_text
from infra.weights.entries import NAME, Weight

_HEAD = """\
# Digests (sha256) of weights whose publishers name none, recorded at first use.
# To accept another file: limelight weights pull NAME --from PATH --replace
"""


_Digest = Annotated[
    str,
    BeforeValidator(lambda given: given.lower() if isinstance(given, str) else given),
    Field(pattern=r"^[0-9a-f]{64}$"),
]


class _Pin(BaseModel):
    """One line of the record, which people may edit."""

    sha256: _Digest
    file: str = ""
    since: str = ""


_RECORD = TypeAdapter(dict[Annotated[str, Field(pattern=NAME)], _Pin])


def pinned(name: str) -> str:
    """The digest recorded for the weight ``name``, or an empty string.

    Raises:
        WeightsError: The record is damaged.
    """
    found = _read().get(name)
    return found.sha256 if found else ""


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
        before = known[weight.name].sha256 if weight.name in known else digest
        if before != digest and not replace:
            raise another_file(weight, digest, before)
        if before == digest and weight.name in known:
            return
        day = datetime.now(UTC).date().isoformat()
        known[weight.name] = _Pin(sha256=digest, file=weight.file, since=day)
        lines = [
            f"{name} = {{ {', '.join(f'{key} = {_quote(v)}' for key, v in entry)} }}"
            for name, entry in sorted(known.items())
        ]
        write_text(_path(), _HEAD + "\n".join(lines) + "\n")


def another_file(weight: Weight, digest: str, wanted: str, where: Path | str = "") -> WeightsError:
    """The error that a file is not the one whose digest was recorded.

    Args:
        weight: What it was meant for.
        digest: The file's.
        wanted: What was recorded.
        where: Its path, if it lies here; otherwise where it comes from.
    """
    if isinstance(where, Path):
        first, path = "take it away or put the old one back; or accept it", shlex.quote(str(where))
    else:
        first, path = "to accept it, download it, then", "PATH"
    return WeightsError(
        f"{where or weight.file} is another file than the weight {weight.name} was so far: "
        f"sha256 {digest}, not {wanted}",
        hint=f"{first}: limelight weights pull {weight.name} --from {path} --replace",
    )


def _path() -> Path:
    return cache_folder() / "pins.toml"


def _read() -> dict[str, _Pin]:
    try:
        return _RECORD.validate_python(tomllib.loads(_path().read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _damaged(f"{where}: {first['msg']} (it is {first['input']!r})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise _damaged(str(error)) from error


def _damaged(why: str) -> WeightsError:
    return WeightsError(
        f"the record of digests {_path()} is damaged: {why}",
        hint="mend it by hand, or remove it to trust the files that are here now",
    )


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
