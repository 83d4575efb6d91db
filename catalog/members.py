"""What a named build is: its recipe, and the clips that it is about.

``releases/<name>/recipe.json`` and ``members.parquet`` say it, from the moment the source has
been listed; so a build's status is known while it runs, and after it was interrupted.
"""

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.lake import Lake
from catalog.tables import clean
from infra.errors import LakeError, UsageError
from infra.storage import write_atomic

SCHEMA = pa.schema(
    [
        ("clip", pa.string()),
        ("label", pa.string()),
        ("identity", pa.string()),
        ("split", pa.string()),
    ]
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Recipe:
    """How a release is made.

    Attributes:
        name: Of the release.
        source: What was listed.
        config: The build's validated config, as JSON values.
        fingerprints: Of every stage, by name, in order.
    """

    name: str
    source: str
    config: Mapping[str, Any]
    fingerprints: Mapping[str, str]


@dataclass(frozen=True)
class Member:
    """A clip of a build.

    Attributes:
        clip: Its content id.
        label: One of its names.
        identity: Who is seen.
        split: ``train``, ``val`` or ``test``.
    """

    clip: str
    label: str
    identity: str
    split: str


def check_name(name: str) -> None:
    """Refuse what cannot name a release (and a folder, a file, an SQL row).

    Raises:
        UsageError: It says what a name may hold.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a release: letters, digits, '_', '.' and '-' can, "
            "at most 100, and neither '.' nor '-' first"
        )


def remember(lake: Lake, recipe: Recipe, members: Sequence[Member]) -> None:
    """Write down what the latest build of ``recipe.name`` is, in place of the one before.

    Raises:
        UsageError: The name cannot name a release.
        LakeError: The disk is full or read-only.
    """
    check_name(recipe.name)
    columns = {
        column: [clean(getattr(member, column)) for member in members] for column in SCHEMA.names
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=SCHEMA), buffer, compression="zstd")
    folder = lake.releases / recipe.name
    # Members first: a recipe whose members are missing would be half a build.
    write_atomic(folder / "members.parquet", buffer.getvalue(), point="members")
    text = json.dumps({**asdict(recipe), "source": clean(recipe.source)}, indent=2) + "\n"
    write_atomic(folder / "recipe.json", text.encode(), point="recipe")


def read_recipe(lake: Lake, name: str) -> Recipe:
    """The recipe of the latest build of ``name``.

    Raises:
        UsageError: There is no such build; the message names those that there are.
        LakeError: It cannot be understood.
    """
    check_name(name)
    path = lake.releases / name / "recipe.json"
    if not path.is_file():
        known = ", ".join(build_names(lake)) or "none yet"
        raise UsageError(
            f"no release is called {name!r} in {lake.root}; there are: {known}",
            hint=f"make it: limelight build SOURCE --name {name}",
        )
    try:
        return Recipe(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise LakeError(
            f"{path} cannot be understood: {error}", hint="run its `limelight build` again"
        ) from error


def read_members(lake: Lake, name: str) -> list[Member]:
    """The clips of the latest build of ``name``, sorted by clip id.

    Raises:
        UsageError: There is no such build.
    """
    read_recipe(lake, name)
    table = pq.read_table(lake.releases / name / "members.parquet")
    columns = [table[column].to_pylist() for column in SCHEMA.names]
    return sorted(
        (Member(*row) for row in zip(*columns, strict=True)), key=lambda member: member.clip
    )


def member_ids(lake: Lake, name: str) -> pa.ChunkedArray:
    """Clip ids of the latest build of ``name``, in no particular order, as an Arrow array.

    Raises:
        UsageError: There is no such build.
    """
    read_recipe(lake, name)
    return pq.read_table(lake.releases / name / "members.parquet", columns=["clip"])["clip"]


def build_names(lake: Lake) -> list[str]:
    """Names of all builds in the lake, sorted."""
    return sorted(path.parent.name for path in lake.releases.glob("*/recipe.json"))
