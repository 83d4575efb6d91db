"""What is asked of a training run: ``run.json``, the same for all ranks and every resume."""

import json
from pathlib import Path
from typing import Any, Literal

from catalog.lake import Lake
from catalog.release import Release
from infra.digests import digest_json
from infra.errors import LakeError, UsageError
from infra.storage import write_atomic
from infra.tables import Table, parse_table
from infra.toml_text import plain_toml
from training.loop.folder import RunFolder
from training.recipe import Recipe, differences

FREE = ("engine", "run.steps", "run.keep", "run.save_every", "run.validate_every")
"""Keys, and tables, of a recipe that a run may change when it goes on: no sample and no weight
depends on them but for rounding, or they say only how long and how often. With the cosine schedule
`run.steps` also says how fast the learning rate falls: another number of steps changes the rates
of the steps that are left, not of those that were done."""

LATENTS = "latents"
"""Name, among a checkpoint's numbers, of whether its run uses the latent cache."""


class RunRequest(Table):
    """A run: one recipe on one version of one release, in one folder.

    The folder is that in which ``run.json`` lies.
    """

    format: Literal[1] = 1
    """Of this file."""
    lake: Path
    """The lake's folder."""
    release: str
    """Name of the release."""
    version: str
    """Its version."""
    seal: str
    """Digest of all that the release says of itself."""
    recipe: Recipe
    """The recipe, all of it."""

    @classmethod
    def of(cls, lake: Lake, release: Release, recipe: Recipe) -> "RunRequest":
        """The request to train ``recipe`` on a release of a lake."""
        return cls(
            lake=lake.root,
            release=release.name,
            version=release.version,
            seal=str(release.record["seal"]),
            recipe=recipe,
        )

    def open_release(self) -> Release:
        """The release, which must be the very one that the run began with.

        Raises:
            UsageError: It is not there any more.
            LakeError: It is another.
        """
        release = Release.open(Lake(self.lake), self.release, self.version)
        if release.record["seal"] != self.seal:
            raise LakeError(
                f"{release.path} is sealed {str(release.record['seal'])[:12]}, but the run began"
                f" with {self.seal[:12]}: the release was made again since",
                hint="train under another name; a run belongs to one release",
            )
        return release


def begin_run(folder: RunFolder, request: RunRequest) -> None:
    """Write a run's request, or check that it goes on as it began.

    For the launcher, once, before any rank starts.

    Raises:
        UsageError: The folder holds a run of another release, or of a recipe that differs in more
            than `FREE`; the message names the key and both values.
    """
    if folder.request.exists():
        check_resume(read_request(folder.request), request)
    folder.root.mkdir(parents=True, exist_ok=True)
    text = json.dumps(request.model_dump(mode="json"), indent=2) + "\n"
    write_atomic(folder.request, text.encode(), point="run.request")
    # For people to read, and to start others from: what counts is run.json.
    write_atomic(folder.recipe, plain_toml(request.recipe).encode(), point="run.recipe")


def read_request(path: Path) -> RunRequest:
    """The request in a ``run.json``.

    Raises:
        UsageError: It is not there, or says what is not allowed.
        LakeError: It is no JSON.
    """
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read the run's request {path}: {error.strerror}") from error
    except ValueError as error:
        raise LakeError(f"{path} is no JSON: {error}") from error
    return parse_table(RunRequest, values, str(path))


def bound_digest(recipe: Recipe) -> str:
    """Digest of all of a recipe that a run may not change when it goes on; see `FREE`.

    Defaults are left out: a run goes on after Limelight learnt another key.
    """
    values = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    for free in FREE:
        table, _, key = free.partition(".")
        if key:
            values.get(table, {}).pop(key, None)
        else:
            values.pop(table, None)
    return digest_json({table: value for table, value in values.items() if value != {}})


def check_resume(began: RunRequest, asked: RunRequest) -> None:
    """Refuse to go on with a run otherwise than it began.

    Raises:
        UsageError: Release or recipe differ.
    """
    for key in ("release", "version", "seal"):
        one, other = getattr(began, key), getattr(asked, key)
        if one != other:
            raise UsageError(
                f"the run began with {key} = {one!r}; now it is {other!r}",
                hint="a run belongs to one release: choose another name with --name",
            )
    check_recipe(began.recipe, asked.recipe)


def check_recipe(began: Recipe, asked: Recipe) -> None:
    """Refuse a recipe that differs in more than `FREE` from that of the run so far.

    Raises:
        UsageError: It names the keys and both their values.
    """
    bound = [
        f"{key} was {_show(one)} and is now {_show(other)}"
        for key, (one, other), _ in differences([began, asked])
        if not any(key == free or key.startswith(f"{free}.") for free in FREE)
    ]
    if bound:
        raise UsageError(
            "the run began with another recipe: " + "; ".join(bound),
            hint="only " + ", ".join(FREE) + " may change: else choose another name with --name",
        )


def _show(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)
