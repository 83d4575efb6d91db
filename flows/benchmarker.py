"""A benchmark, step by step, without Prefect: what the flow's tasks do, and tests call directly.

Rows, films and features lie in the lake by content. Nothing else says what is done: a benchmark
that was interrupted anywhere goes on when it is run again, and another method or metric adds its
own part to what is there.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from itertools import chain

from catalog.lake import Lake
from evaluation.cells.cache import FeatureCache
from evaluation.cells.cell import Cell, plan
from evaluation.cells.inputs import inputs, wanted
from evaluation.cells.places import Places
from evaluation.cells.rows import Row, failed
from evaluation.cells.worker import FACTORY, Answer, lost_outcome
from evaluation.makers import made
from evaluation.methods.base import Method
from evaluation.methods.needs import face_stages, weights_of_stages
from evaluation.metrics.base import Extractor, Metric, Role
from evaluation.metrics.registry import Chosen, choose
from evaluation.protocols.cases import CuttingStoppedError, Prepared, prepare
from evaluation.protocols.lossless import Film
from evaluation.protocols.read import write_protocol
from evaluation.records.assemble import assemble
from evaluation.records.compare import compare
from evaluation.records.record import read_record
from evaluation.videos.encode import light_picture, playable
from flows.benchmark_order import BenchmarkOrder
from flows.benchmarks import BenchmarkFolder, benchmark_folder
from flows.entrants import Contestant, contestant, entrants, require_one
from flows.findings import BenchmarkRun, lost_words, provenance, publish, reasons, worse
from flows.scores import Scores
from infra.engine.base import Done, Engine, Item, Pool, Resources, Result, WorkerSpec
from infra.errors import UsageError
from infra.hold import hold
from infra.weights import prepare as prepare_weights
from stages.matting import MattingConfig

_LOADING = 300.0
"""Seconds that the first of a worker's items may take for its models, beyond its own."""

_A_FRAME = 20.0
"""Seconds that all extractors together may take for a frame: several times what the slowest of them
takes on a slow core, which is VideoMAE's 1 B parameters at about 6 s."""

_STALE = 3600.0
"""Seconds after which a half written file belongs to nobody any more."""


class CalledOffError(Exception):
    """The benchmark was cancelled while it cut clips, or wrote its report."""


class Benchmark:
    """One benchmark of a lake.

    Args:
        lake: Where everything is kept.
        order: What is asked for.
        engine: Makes the engine; called only if something has to be generated or looked at.
        run: Name of this run; its scratch files carry it.
        cancelled: True once somebody wants it to stop.

    Raises:
        UsageError: There is no such method, option or metric.
    """

    def __init__(
        self,
        lake: Lake,
        order: BenchmarkOrder,
        engine: Callable[[], Engine],
        run: str,
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.lake = lake
        self.order = order
        self.run = run
        self.folder: BenchmarkFolder = benchmark_folder(lake, order.name)
        self.scores = Scores()
        self.places = Places(lake.root / "benchmarks")
        self.cells: list[Cell] = []
        self._make_engine = engine
        self._cancelled = cancelled
        self._failures: dict[str, dict[str, str]] = {}
        self._prepared: Prepared | None = None
        self._started = time.monotonic()

    @cached_property
    def engine(self) -> Engine:
        """The engine, started at first use."""
        return self._make_engine()

    @cached_property
    def contestants(self) -> list[Contestant]:
        """The methods, as they stand on this machine."""
        asked = entrants(self.order.protocol, self.order.methods)
        mode, lake = self.order.protocol.mode, str(self.lake.root.absolute())
        return [contestant(name, entrant, mode, lake) for name, entrant in asked.items()]

    @cached_property
    def chosen(self) -> Chosen:
        """The metrics, with their estimators."""
        return choose(self.order.metrics, self.order.protocol.mode)

    @cached_property
    def metrics(self) -> list[Metric]:
        """The metrics, ready to tell values of features; their extractors load nothing here."""
        return [made(maker) for maker in self.chosen.makers]

    @property
    def prepared(self) -> Prepared:
        """The protocol's clips and cases; `cut` finds them.

        Raises:
            RuntimeError: `cut` was not called.
        """
        if self._prepared is None:
            raise RuntimeError("call cut first")
        return self._prepared

    def hold(self) -> AbstractContextManager[None]:
        """Be the only one that runs the benchmark of this name, while inside.

        Raises:
            UsageError: Somebody else does.
        """
        return hold(
            self.folder.root,
            f"the benchmark {self.order.name} is being run already",
            "wait for it, or give this one another --name: films and features are shared",
        )

    def close(self) -> None:
        """End the engine, if it was started, and remove this run's scratch files."""
        if "engine" in self.__dict__:
            self.engine.close()
            del self.__dict__["engine"]
        self.lake.discard_scratch(self.run)

    def check(self) -> None:
        """Make sure that what methods and metrics load is there and ready.

        Raises:
            UsageError: There is no such method, option or metric, or no method can run here.
            WeightsError: Weights are wrong, or cannot be fetched.
        """
        self.scores.begin("looking at methods, metrics and weights")
        require_one(self.contestants)
        if not self.order.replace:
            self._keep_others()
        self.scores.name([each.name for each in self.contestants])
        self.places.sweep(time.time() - _STALE)
        names = [
            *self._cutting,
            *(name for each in self.contestants for name in each.weights),
            *(name for each in self._extractors for name in each.weights()),
        ]
        prepare_weights(names)

    def cut(self) -> None:
        """Cut the protocol's clips, find its lights, and plan the cells.

        Raises:
            UsageError: There is no such source, or nothing of it can be used.
            CalledOffError: It was cancelled meanwhile.
        """
        self.scores.begin("cutting clips")
        self.lake.discard_scratch(self.run)
        scratch = self.lake.scratch(self.run)
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            self._prepared = prepare(
                self.order.protocol, self.lake, scratch, self._tick, self._cut_by_workers
            )
        except CuttingStoppedError as error:
            raise CalledOffError from error
        digests = {each.name: each.digest for each in self.contestants}
        self.cells = plan(digests, self.prepared.cases)

    def look(self) -> None:
        """Look at what methods are given: at most once a film and extractor, for good."""
        films = [e for e in inputs(self.prepared.cases) if not self._seen(e.film, e.roles)]
        self.scores.begin("looking at the originals", len(films))
        items = [
            Item(e.film.digest, e.to_json(), deadline=self._patience(e.film, 0.0)) for e in films
        ]
        for result in self._look_at(items):
            self.scores.one()
            self._keep_failures(result)

    def judge(self, name: str) -> None:
        """Let one method do its cells, and look at what it made.

        Args:
            name: What it is called.
        """
        (one,) = (each for each in self.contestants if each.name == name)
        cells = {cell.id: cell for cell in self.cells if cell.method == name}
        self.scores.begin(f"judging {name}", len(cells))
        if one.unavailable:
            for cell in cells.values():
                failed(cell, one.unavailable, outcome="unavailable").write(self.places)
                self.scores.cell(name, cell.id, "unavailable", made=False)
            return
        for result in self._look_at(self._missing(one, cells)):
            self._keep_failures(result)
            outcome, made_now = self._outcome(cells[result.id], result)
            self.scores.cell(name, result.id, outcome, made=made_now)

    def _missing(self, one: Contestant, cells: Mapping[str, Cell]) -> Iterator[Item]:
        """A method's cells of which something is missing; the others are counted."""
        method: Method = made(one.maker)
        for id, cell in cells.items():
            row = self._through(cell)
            if row:
                self.scores.cell(one.name, id, row.outcome, made=False)
                continue
            film = cell.subject.film
            deadline = self._patience(film, method.seconds(film.frames, gpu=self.order.gpus > 0))
            yield Item(id, {"cell": cell.to_json()}, deadline=deadline)

    def report(self) -> BenchmarkRun:
        """Tell what was found: the record, films to be played, the report, the study's list.

        Raises:
            CalledOffError: It was cancelled meanwhile; the report before stands.
        """
        self.scores.begin("writing the report", len(self.cells))
        self.folder.root.mkdir(parents=True, exist_ok=True)
        write_protocol(self.order.protocol, self.folder.protocol)
        videos = self.folder.videos
        record = assemble(
            name=self.order.name,
            prepared=self.prepared,
            cells=self.cells,
            methods=[each.facts for each in self.contestants],
            metrics=self.metrics,
            places=self.places,
            video=lambda film: f"{videos.name}/{playable(film, videos)}",
            picture=lambda light: f"{videos.name}/{light_picture(light, videos)}",
            failures=self._failures,
            left_out_metrics=self.chosen.left_out,
            provenance=provenance(
                self.prepared, [each.facts for each in self.contestants], self._cutting
            ),
            progress=self._tick,
        )
        record = publish(record, self.folder, self.order.before)
        return BenchmarkRun(
            name=self.order.name,
            record=str(self.folder.record),
            page=str(self.folder.page),
            methods=self.scores.rows(),
            cells=dict(self.scores.counts()),
            unavailable={e.name: e.unavailable for e in self.contestants if e.unavailable},
            reasons=reasons(record),
            left_out={each.name: each.reason for each in self.prepared.left_out},
            unmeasured=dict(self.chosen.left_out),
            worse=worse(compare(self.order.before, record)) if self.order.before else [],
            seconds=round(time.monotonic() - self._started, 2),
        )

    def all(self) -> BenchmarkRun:
        """Every step in turn, in this thread: what tests and debugging need."""
        try:
            self.check()
            self.cut()
            self.look()
            for each in self.contestants:
                self.judge(each.name)
            return self.report()
        finally:
            self.close()

    def _look_at(self, items: Iterable[Item]) -> Iterator[Result]:
        """What workers say of the items; no engine is started where there are none."""
        waiting = iter(items)
        first = next(waiting, None)
        if first is None:
            return iter(())
        return self._pool.run(chain([first], waiting), cancelled=self._cancelled)

    def _cut_by_workers(self, spec: WorkerSpec, items: Iterable[Item]) -> Iterator[Result]:
        """What workers say of clips to be cut; see `evaluation.protocols.cases.prepare`."""
        return self.engine.pool("cuts", spec, Resources(), None).run(
            items, cancelled=self._cancelled
        )

    def _patience(self, film: Film, seconds: float) -> float:
        """Seconds after which a worker counts as hung that makes a film, and looks at it."""
        return _LOADING + seconds + _A_FRAME * film.frames

    @property
    def _cutting(self) -> tuple[str, ...]:
        """Names of the weights of what finds faces and their light, as the protocol says."""
        table = self.order.protocol
        faces = face_stages(table.cut.landmarks, table.lights.geometry, MattingConfig())[:2]
        return weights_of_stages(faces)

    @cached_property
    def _extractors(self) -> list[Extractor]:
        found = wanted(self.metrics).values()
        return list({d: each for own in found for d, each in own.items()}.values())

    @cached_property
    def _wanted(self) -> dict[Role, set[str]]:
        """Digests of the extractors, by whose frames they look at."""
        return {role: set(found) for role, found in wanted(self.metrics).items()}

    def _seen(self, film: Film, roles: Iterable[Role]) -> bool:
        """Whether all that is to be found in a film lies in the cache, undamaged."""
        digests = set().union(*(self._wanted.get(role, set()) for role in roles))
        return all(self._cache.load(film.digest, digest) is not None for digest in digests)

    def _through(self, cell: Cell) -> Row | None:
        """The row of a cell that needs nothing any more."""
        row = Row.read(self.places, cell.id)
        if row is None or not row.stands(self.order.retry):
            return None
        return row if row.film is None or self._seen(row.film, ("output",)) else None

    def _outcome(self, cell: Cell, result: Result) -> tuple[str, bool]:
        """What became of a cell, and whether its method was at work."""
        if isinstance(result, Done):
            answer: Answer = result.value
            return answer["outcome"], answer["generated"]
        row = Row.read(self.places, cell.id)
        if row is None or row.film is None or not row.stands(retry=False):
            row = failed(cell, lost_words(result), outcome=lost_outcome(result))
            row.write(self.places)
        return row.outcome, True

    def _keep_failures(self, result: Result) -> None:
        """Why extractors found nothing in a film: a worker that is lost is lost to all of them."""
        if isinstance(result, Done):
            self._failures[result.id] = dict(result.value["failures"])
        else:
            names = (each.name for each in self._extractors)
            self._failures[result.id] = dict.fromkeys(names, lost_words(result))

    def _keep_others(self) -> None:
        """Refuse to write over a record that was judged on other clips, or otherwise.

        Raises:
            UsageError: There is one of this name.
        """
        if not self.folder.record.is_file():
            return
        digest = read_record(self.folder.record).protocol.digest
        if digest != self.order.protocol.digest:
            raise UsageError(
                f"there is a benchmark {self.order.name} by another protocol, or on other clips",
                hint="give this one a name: --name NAME; or write over that record: --replace",
            )

    def _tick(self, _name: str) -> None:
        """One more of what the driver itself does is done; here it hears that it is to stop."""
        if self._cancelled():
            raise CalledOffError
        self.scores.one()

    @cached_property
    def _cache(self) -> FeatureCache:
        return FeatureCache(self.places.features)

    @cached_property
    def _pool(self) -> Pool:
        spec = WorkerSpec(
            FACTORY,
            {
                "root": str(self.places.root.absolute()),
                "scratch": str(self.lake.scratch(self.run).absolute()),
                "methods": {e.name: e.maker for e in self.contestants if not e.unavailable},
                "metrics": list(self.chosen.makers),
                "retry": self.order.retry,
            },
        )
        return self.engine.pool("cells", spec, Resources(num_gpus=self.order.gpus), None)
