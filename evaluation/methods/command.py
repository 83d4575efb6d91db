"""Any program as a method: run in an environment of its own, by a template of its command line.

For instance, of a configuration in TOML::

    argv = ["/opt/other/bin/python", "relight.py", "{driving}", "{light_json}", "{output}"]
    cwd = "/opt/other"
    seconds = 600

Words in braces are filled in (`PLACES`). No shell is asked, so that names need no quotes.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Any, Literal, Self

from PIL import Image
from pydantic import Field, field_validator, model_validator

from evaluation.methods.base import (
    FilmLike,
    Light,
    Method,
    MethodError,
    MethodOptions,
    Mode,
    Picture,
    Scratch,
)
from evaluation.methods.confined import Ending, run_confined
from evaluation.methods.made import read_made
from infra.digests import digest_bytes, digest_json

PLACES: Mapping[str, str] = {
    "driving": "the driving film: a lossless film, or a folder of PNG files",
    "light": "picture of a face that is lit as wanted; lights told by numbers have none",
    "light_json": "the wanted light as JSON: its name and its coefficients, (9, 3)",
    "reference": "the portrait as PNG: the one that is to move, or the driving film's first frame",
    "output": "where the result is to be put",
    "frames": "number of frames",
    "size": "width and height in pixels",
    "seed": "of random numbers",
}
"""What may stand in braces, and what is put there."""

_PLACE = re.compile(r"\{(\w+)\}")
_KEPT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "CUDA_VISIBLE_DEVICES")
_GIB = 1 << 30
_TOLD = 2000  # characters of what it printed
_SECRET = 6  # a value of fewer characters is no key, but may be part of any word


class CommandOptions(MethodOptions):
    """The command, and what it may take."""

    argv: tuple[str, ...] = Field(min_length=1)
    """The program and its arguments; see `PLACES` for what may stand in braces."""
    modes: tuple[Mode, ...] = ("relight",)
    """What it can do."""
    cwd: Path | None = None
    """Its working folder; without, an empty one."""
    env: tuple[str, ...] = ()
    """Names of variables that it is passed of our own environment; else it has little more than
    PATH and HOME. Values, such as keys of services, are read where it is run, and told to it alone:
    on Ray, in the environment of the cluster, which is the benchmark's where we start it."""
    driving: Literal["film", "pictures"] = "film"
    """What `{driving}` is: one lossless film (FFV1 in Matroska), or a folder of PNG files."""
    output: str = Field("output", pattern=r"^[\w-][\w.-]*$")
    """Name of what it makes. With an ending, such as `made.mp4`, it is a film; without, a folder,
    which is there and empty, for pictures that are named in their order."""
    seconds: float = Field(3600.0, gt=0, le=1e6)
    """Time limit for one film."""
    memory: float = Field(32.0, ge=0)
    """Limit in GiB on the address space of each of its processes; 0 for none, as programs on CUDA
    need, which reserve far more than they use."""
    version: str = ""
    """Of the program: another one, and its films are made again."""

    @model_validator(mode="before")
    @classmethod
    def _names_alone(cls, table: Any) -> Any:
        """Refuse values among the names. A rule of the whole table: its error repeats none."""
        env = table.get("env", ()) if isinstance(table, Mapping) else ()
        named = isinstance(env, Sequence) and not isinstance(env, str)
        if not named or not all(isinstance(each, str) and each.isidentifier() for each in env):
            raise ValueError(
                'env is a list of names, such as ["KEY"]: values are taken from the environment'
                " that the benchmark is run in"
            )
        return table

    @field_validator("argv")
    @classmethod
    def _known_places(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse words in braces that nothing is put for, and a result that nobody is told of."""
        used = _places_in(argv)
        if unknown := sorted(used - PLACES.keys()):
            raise ValueError(f"{{{unknown[0]}}} is none of {{{'}, {'.join(PLACES)}}}")
        if "output" not in used:
            raise ValueError("{output} is nowhere in it")
        return argv

    def pinned(self) -> Self:
        """With absolute paths of the program and of its working folder."""
        program, *arguments = self.argv
        if self.cwd is not None:
            return self.model_copy(update={"cwd": self.cwd.absolute()})
        if "/" in program:
            program = str(Path(program).absolute())
        return self.model_copy(update={"argv": (program, *arguments)})


class Command(Method):
    """Runs a program for each film, and reads what it made."""

    name = "command"

    def __init__(self, table: CommandOptions) -> None:
        self._table = table
        self.modes = frozenset(table.modes)

    def options(self) -> dict[str, Any]:
        """All but the limits, which decide whether there is a film, never which."""
        told = self._table.model_dump(mode="json", exclude={"seconds", "memory", "env"})
        return {**told, "env": sorted(self._table.env)}

    @property
    def digest(self) -> str:
        """Of all that decides its films, the values of its environment among it.

        Raises:
            KeyError: A variable is missing.
        """
        values = {name: digest_bytes(os.fsencode(value)) for name, value in self._values().items()}
        return digest_json([super().digest, values])[:16]

    def unavailable(self) -> str:
        """The program, its working folder, or a variable of the environment is not there."""
        table = self._table
        if missing := [name for name in table.env if name not in os.environ]:
            return f"the environment has no variable {missing[0]}"
        if table.cwd is not None and not table.cwd.is_dir():
            return f"there is no folder {table.cwd}"
        program = table.argv[0]
        if which(program, path=self._environment().get("PATH")) is None and not (
            table.cwd is not None and which(str(table.cwd / program))
        ):
            return f"there is no program {program}"
        return ""

    def seconds(self, frames: int, gpu: bool) -> float:
        """Its time limit, and the time to hand it the film and to read what it made."""
        return self._table.seconds + 120.0 + 1.0 * frames

    def relight(self, driving: FilmLike, light: Light, scratch: Scratch) -> Iterator[Picture]:
        """What the program makes of a film and a light.

        Raises:
            MethodError: It failed, took too long, or made something else.
        """
        return self._made(driving, None, light, scratch)

    def animate(self, driving: FilmLike, portrait: Picture, scratch: Scratch) -> Iterator[Picture]:
        """What the program makes of a film and a portrait.

        Raises:
            MethodError: It failed, took too long, or made something else.
        """
        return self._made(driving, portrait, None, scratch)

    def _made(
        self, driving: FilmLike, portrait: Picture | None, light: Light | None, scratch: Scratch
    ) -> Iterator[Picture]:
        table, folder = self._table, scratch.folder.resolve()
        output = folder / table.output
        if not output.suffix:
            output.mkdir()
        fill: Mapping[str, Callable[[], object]] = {
            "driving": lambda: self._driving(driving, folder),
            "light": lambda: _light_picture(light),
            "light_json": lambda: _light_file(light, folder),
            "reference": lambda: _reference(driving, portrait, folder),
            "output": lambda: output,
            "frames": lambda: driving.frames,
            "size": lambda: driving.size,
            "seed": lambda: scratch.seed,
        }
        places = {place: str(fill[place]()) for place in _places_in(table.argv)}
        ending = run_confined(
            [_PLACE.sub(lambda found: places[found[1]], word) for word in table.argv],
            log=folder / "command.log",
            cwd=table.cwd or folder,
            # What it leaves in its folder for temporary files goes with ours.
            env={**self._environment(), "TMPDIR": str(folder)},
            seconds=table.seconds,
            memory=round(table.memory * _GIB),
        )
        self._check(ending)
        yield from read_made(output, driving)

    def _driving(self, driving: FilmLike, folder: Path) -> Path:
        """The film's path, or that of a folder of its frames."""
        if self._table.driving == "film":
            return driving.path.resolve()
        frames = folder / "driving"
        frames.mkdir()
        for index, picture in enumerate(driving.pictures()):
            Image.fromarray(picture).save(frames / f"{index:06}.png", compress_level=1)
        return frames

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {**kept, **self._values()}

    def _values(self) -> dict[str, str]:
        """Variables that are passed by name, as they stand in our environment."""
        return {name: os.environ[name] for name in self._table.env}

    def _check(self, ending: Ending) -> None:
        if ending.code == 0:
            return
        if ending.code is None:
            how = f"did not end within {self._table.seconds:g} s"
        elif ending.code < 0:
            how = f"was ended by signal {-ending.code}"
        else:
            how = f"failed with exit code {ending.code}"
        limit = f" (its memory limit is {self._table.memory:g} GiB)" if self._table.memory else ""
        raise MethodError(f"the command {how}{limit}; it said: {self._said(ending)}")

    def _said(self, ending: Ending) -> str:
        """The end of what it printed, with names in the place of its environment's values."""
        said = ending.said
        for name, value in sorted(self._values().items(), key=lambda each: -len(each[1])):
            if len(value) >= _SECRET:
                said = said.replace(value, f"${name}")
        if len(said) > _TOLD:
            # From the start of a line: half a path would not be known for what it is.
            said = said[-_TOLD:]
            said = "".join(said.splitlines(keepends=True)[1:]) or said
        return said.strip() or "nothing"


def _places_in(argv: Iterable[str]) -> set[str]:
    """Words in braces."""
    return {place for word in argv for place in _PLACE.findall(word)}


def _reference(driving: FilmLike, portrait: Picture | None, folder: Path) -> Path:
    """A file of the portrait, or of the film's first frame."""
    path = folder / "reference.png"
    Image.fromarray(next(driving.pictures()) if portrait is None else portrait).save(path)
    return path


def _light_picture(light: Light | None) -> Path:
    """The picture of a face that is lit as wanted."""
    if light is None or light.picture is None:
        told = f"the light {light.name}" if light else "animation"
        raise MethodError(f"the command wants a picture in {{light}}; {told} has none")
    return light.picture.resolve()


def _light_file(light: Light | None, folder: Path) -> Path:
    """A file of the light's numbers; `null` where none is asked for."""
    told = None
    if light is not None:
        told = {
            "name": light.name,
            "coefficients": light.coefficients.astype(float).tolist(),
            "basis": "1, x, y, z, xy, xz, yz, x^2-y^2, 3z^2-1; x right, y up, z to the viewer",
        }
    path = folder / "light.json"
    path.write_text(json.dumps(told) + "\n", encoding="utf-8")
    return path
