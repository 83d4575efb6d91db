"""Methods, metrics and films for tests of a benchmark: tiny, and without faces."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.cells.cell import Case, LightTarget, Subject
from evaluation.makers import Maker
from evaluation.methods.base import FilmLike, Light, Method, MethodError, Picture, Scratch
from evaluation.metrics.base import (
    CaseFeatures,
    ClipMetric,
    Extractor,
    FeaturePass,
    MetricInfo,
    Role,
)
from evaluation.protocols.lossless import keep_film
from infra.errors import WeightsError

SIZE, FRAMES = 16, 5


def pictures(seed: int, frames: int = FRAMES, size: int = SIZE) -> NDArray[np.uint8]:
    """Frames of noise."""
    return np.random.default_rng(seed).integers(0, 256, (frames, size, size, 3), np.uint8)


def subject(root: Path, seed: int, frames: int = FRAMES) -> Subject:
    """A clip of noise, kept in the benchmark's folder."""
    film = keep_film(root / "films", pictures(seed, frames), Fraction(25))
    return Subject(f"clip {seed}", f"person {seed % 2}", film, {"seed": seed})


def light(seed: int, film: bool = False, root: Path | None = None) -> LightTarget:
    """Some light."""
    numbers = np.random.default_rng(seed).normal(size=(9, 3)).astype(np.float32)
    kept = keep_film(root / "films", pictures(seed, 1), Fraction(25)) if film and root else None
    return LightTarget(f"light {seed}", numbers, None, kept)


def case(root: Path, seed: int = 0) -> Case:
    """A clip, and a light for it."""
    return Case("relight", subject(root, seed), None, light(seed))


SETUP = {
    "setup": OSError("no such model"),
    "weights": WeightsError("the weight net is not here", hint="pull it"),
    "memory": MemoryError("1 GiB"),
}
"""Why a `Fake` cannot be set up."""


class Fake(Method):
    """Adds to all pixels; or fails in a way of one's choice."""

    name = "fake"
    modes = frozenset({"relight", "animate"})

    def __init__(self, add: int = 1, way: str = "", log: str = "") -> None:
        self._add, self._way, self._log = add, way, log

    def options(self) -> Mapping[str, Any]:
        return {"add": self._add, "way": self._way}

    def unavailable(self) -> str:
        return "its weights are not here" if self._way == "unavailable" else ""

    def setup(self) -> None:
        if self._way in SETUP:
            raise SETUP[self._way]
        self._note("setup")

    def relight(self, driving: FilmLike, light: Light, scratch: Scratch) -> Iterator[Picture]:
        self._note("relight")
        if self._way == "raises":
            raise MethodError("it is too dark")
        if self._way == "crashes":
            raise ZeroDivisionError("division by zero")
        for number, picture in enumerate(driving.pictures()):
            if self._way == "few" and number == 2:
                return
            (scratch.folder / f"{number}").write_bytes(bytes(picture))
            yield self._spoilt(picture + np.uint8(self._add))
        if self._way == "many":
            yield picture

    def animate(self, driving: FilmLike, portrait: Picture, scratch: Scratch) -> Iterator[Picture]:
        for _ in range(driving.frames):
            yield portrait

    def _spoilt(self, picture: Any) -> Any:
        return {
            "nan": np.full(picture.shape, np.nan, np.float32),
            "float": picture.astype(np.float32),
            "shape": picture[:-1],
            "list": picture.tolist(),
            "none": None,
        }.get(self._way, picture)

    def _note(self, word: str) -> None:
        if self._log:
            with Path(self._log).open("a") as file:
                file.write(f"{word}\n")


class Sums(Extractor):
    """Sums of squares over fixed groups of frames, in float32, as a network's are."""

    name = "sums"

    def __init__(self, power: float = 2.0, way: str = "") -> None:
        self._power, self._way = power, way

    def options(self) -> Mapping[str, Any]:
        return {"power": self._power}

    def setup(self) -> None:
        if self._way == "setup":
            raise ImportError("no such package")

    def start(self, frames: int, size: int) -> FeaturePass:
        return SumsPass(self._power, self._way)


class SumsPass(FeaturePass):
    def __init__(self, power: float, way: str) -> None:
        self._power, self._way = power, way
        self._held: list[NDArray[np.uint8]] = []

    def add(self, frames: NDArray[np.uint8]) -> None:
        if self._way == "raises":
            raise RuntimeError("no such operator")
        if self._way == "writes":
            frames[:] = 0
        self._held.extend(frames)

    def finish(self) -> dict[str, NDArray[Any]]:
        frames = np.stack(self._held).astype(np.float32)
        return {"sums": (frames**self._power).sum(axis=(1, 2, 3)), "name": np.float64(1)}


class Brightness(ClipMetric):
    """The mean of `Sums`, of the output and of what drove it."""

    def __init__(self, power: float = 2.0, way: str = "") -> None:
        self._extractor = Sums(power, way)

    @property
    def info(self) -> MetricInfo:
        return MetricInfo("sum", "Sum", True, "", (0, np.inf), "a sum", "embedded", "A sum.")

    def extractors(self) -> Mapping[Role, Extractor]:
        return {"output": self._extractor, "driving": self._extractor}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        return case.found["output"]["sums"]["sums"].astype(np.float64)


def method(**arguments: Any) -> Maker:
    """How to make a `Fake`."""
    return {"factory": "tests.bench_fakes:Fake", "arguments": arguments}


def metric(**arguments: Any) -> Maker:
    """How to make a `Brightness`."""
    return {"factory": "tests.bench_fakes:Brightness", "arguments": arguments}
