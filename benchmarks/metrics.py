"""All metrics from one decode pass, beside one pass a metric; and a second run out of the cache.

    python benchmarks/metrics.py [--frames 1000]

Five clips are cut to the face's square of 256 pixels and relit by a gradient, which makes ten films
of equal length: the frames that a method gave, and those that drove it. All metrics that are
measured where nothing is asked for look at them, by the estimators that this machine has, in one
process on one thread, with models loaded beforehand:

- in one pass, by the worker of a benchmark: every film is decoded once for all metrics, an
  extractor that several of them ask for looks once, and features are kept;
- in one pass a metric: each decodes the films that it asks for and runs its own extractors, and
  keeps nothing;
- again, by another worker: all features are there.

Clips are those of ../shared/media; without them, a camera that moves over one portrait. Prints one
JSON line, and keeps it in benchmarks/results/metrics.json. Ratios are of processor time, which a
busy machine does not change:

- ``seconds``: of one pass for all metrics; ``passes_s``: of one pass a metric, all of them;
- ``ratio``: of the two (at least 3); ``wall_ratio``: the same by the clock;
- ``decode_s``: decoding all films once, and nothing else;
- ``metrics_s``: the pass of each metric by itself, the dearest first;
- ``first_s``: the first run, from films to values; ``again_s``: the second one, out of the cache;
  ``again_ratio``: of the two (at least 30), ``again_wall_ratio``: the same by the clock.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from time import perf_counter, process_time

import parts.one_thread  # noqa: F401 - before NumPy, whose BLAS reads the environment once

import cv2  # isort: skip
import numpy as np
from numpy.typing import NDArray
from parts.results import keep
from skimage.data import astronaut

from evaluation.cells.cell import Case, Cell, LightTarget, Subject
from evaluation.cells.inputs import Input, films_of, inputs
from evaluation.cells.measure import measure
from evaluation.cells.places import Places
from evaluation.cells.rows import Row, about
from evaluation.cells.worker import CellWorker
from evaluation.makers import made
from evaluation.metrics.base import ClipMetric, Extractor, Metric, Role, SetMetric
from evaluation.metrics.registry import choose
from evaluation.protocols.cutting import Cutter
from evaluation.protocols.lossless import Film, keep_film, read_film
from evaluation.protocols.tables import CutTable, LightsTable, Protocol
from evaluation.records.values import CellReader, set_values

MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"
CLIPS = ("hdtf_WDA_DebbieDingell1_000", "lp_d10", "lp_d12", "lp_d18", "lp_d20")
SIZE, METHOD = 256, "gradient"
LEAST, LEAST_AGAIN = 3.0, 30.0
ROLES: tuple[Role, ...] = ("driving", "output", "reference", "target")

Work = tuple[Cell, Row]


class Spent:
    """Seconds of some work: by the processor, and by the clock."""

    cpu = 0.0
    wall = 0.0

    @contextmanager
    def more(self) -> Iterator[None]:
        """Count what is done within."""
        cpu, wall = process_time(), perf_counter()
        yield
        self.cpu += process_time() - cpu
        self.wall += perf_counter() - wall


def clips(places: Places, frames: int) -> list[Film]:
    """The driving films."""
    cut = CutTable(frames=frames, shortest=1)
    protocol = Protocol(name="m", size=SIZE, cut=cut, lights=LightsTable(presets=("left",)))
    cutter = Cutter(protocol, places)
    paths = [MEDIA / f"{name}.mp4" for name in CLIPS]
    if all(path.is_file() for path in paths):
        return [cutter.file(path).film for path in paths]
    return [keep_film(places.films, pan(frames, down), Fraction(25)) for down in range(len(CLIPS))]


def pan(frames: int, down: int) -> Iterator[NDArray[np.uint8]]:
    """A camera moves over a portrait."""
    for right in np.linspace(20, 100, frames).astype(int):
        square = np.ascontiguousarray(astronaut()[4 * down :][:320, right : right + 320])
        yield cv2.resize(square, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.uint8)


def relit(film: Film) -> Iterator[NDArray[np.uint8]]:
    """The film under a light from the right."""
    ramp = np.linspace(0.6, 1, SIZE)[:, None]
    for picture in film.pictures():
        yield (picture * ramp).astype(np.uint8)


def warm(worker: CellWorker, film: Film, places: Places) -> None:
    """Let a worker load all models, and show each its first picture."""
    first = keep_film(places.films, [next(film.pictures())], film.fps)
    worker.run(Input(first, ROLES).to_json(), lambda words: None)


def works(places: Places, frames: int) -> list[Work]:
    """Cells whose films are made."""
    light = LightTarget("right", np.eye(9, 3, dtype=np.float32))
    found = []
    for number, film in enumerate(clips(places, frames)):
        subject = Subject(f"clip {number}", f"person {number}", film)
        cell = Cell(METHOD, "0" * 16, Case("relight", subject, None, light))
        output = keep_film(places.films, relit(film), film.fps)
        row = Row(cell.id, about(cell), "done", film=output, seconds_per_frame=1.0, peak_bytes=1)
        row.write(places)
        found.append((cell, row))
    return found


def look(worker: CellWorker, found: Sequence[Work]) -> int:
    """Let a worker measure what is missing; how many extractors looked at how many films."""
    payloads = [each.to_json() for each in inputs(cell.case for cell, _ in found)]
    payloads += [{"cell": cell.to_json()} for cell, _ in found]
    answers = [worker.run(payload, lambda words: None) for payload in payloads]
    assert not any(answer["failures"] for answer in answers)
    return sum(answer["measured"] for answer in answers)


def values(metrics: Sequence[Metric], found: Sequence[Work], places: Places) -> None:
    """What the metrics say, out of features that were kept."""
    of_clips = [each for each in metrics if isinstance(each, ClipMetric)]
    reader = CellReader(places.features, of_clips, {})
    for cell, row in found:
        assert not reader.read(cell, row).missing
    for metric in metrics:
        if isinstance(metric, SetMetric):
            set_values(metric, {METHOD: found}, "relight", places.features)


def alone(metric: Metric, found: Sequence[Work]) -> Callable[[], None]:
    """One metric's own pass over the films that it asks for; its models are loaded."""
    asked: dict[str, tuple[Film, list[Extractor]]] = {}
    for role, extractor in metric.extractors().items():
        for cell, row in found:
            films = {**films_of(cell.case), "output": row.film}
            film = films.get(role)
            if film is not None:
                asked.setdefault(film.digest, (film, []))[1].append(extractor)
    for extractor in set(metric.extractors().values()):
        extractor.setup()

    def run() -> None:
        for film, extractors in asked.values():
            assert not measure(film, extractors).failures

    return run


def main() -> int:
    """Time all three ways; 1 where one is not as fast as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=1000, help="of all ten films together")
    frames = parser.parse_args().frames // (2 * len(CLIPS))
    makers = choose(mode="relight").makers
    metrics: list[Metric] = [made(maker) for maker in makers]
    one, again, values_s, decode = Spent(), Spent(), Spent(), Spent()
    passes: dict[str, Spent] = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        places = Places(root)

        def worker() -> CellWorker:
            return CellWorker(str(root), str(root / "scratch"), {}, makers)

        found = works(places, frames)
        films = [film for cell, row in found for film in (cell.subject.film, row.film) if film]
        busy = worker()
        warm(busy, films[0], places)
        with one.more():
            looks = look(busy, found)
        busy.close()
        with values_s.more():
            values(metrics, found, places)
        with again.more():
            assert look(worker(), found) == 0
            values([made(maker) for maker in makers], found, places)
        with decode.more():
            for film in films:
                for _ in read_film(film):
                    pass
        for metric in metrics:
            if metric.extractors():
                run, spent = alone(metric, found), Spent()
                with spent.more():
                    run()
                passes[metric.info.name] = spent
    cpu, wall = (sum(getattr(each, kind) for each in passes.values()) for kind in ("cpu", "wall"))
    first_cpu, first_wall = one.cpu + values_s.cpu, one.wall + values_s.wall
    dearest = sorted(passes, key=lambda name: -passes[name].cpu)
    ratio, again_ratio = cpu / one.cpu, first_cpu / again.cpu
    passed = ratio >= LEAST and again_ratio >= LEAST_AGAIN
    keep(
        {
            "benchmark": "metrics",
            "frames": sum(film.frames for film in films),
            "metrics": len(passes),
            "looks": looks,
            "seconds": round(one.cpu, 2),
            "passes_s": round(cpu, 2),
            "ratio": round(ratio, 2),
            "wall_ratio": round(wall / one.wall, 2),
            "decode_s": round(decode.cpu, 2),
            "metrics_s": {name: round(passes[name].cpu, 2) for name in dearest},
            "first_s": round(first_cpu, 2),
            "again_s": round(again.cpu, 3),
            "again_ratio": round(again_ratio, 1),
            "again_wall_ratio": round(first_wall / again.wall, 1),
            "passed": passed,
        }
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
