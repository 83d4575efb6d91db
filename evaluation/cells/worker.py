"""What runs in an engine's worker: what is missing of one cell, or of a film that cells are given.

Films are decoded, looked at and written within the worker; what goes back to the driver is small.
"""

import gc
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from socket import gethostname
from typing import Any, TypedDict

from evaluation.cells.cache import FeatureCache
from evaluation.cells.cell import Cell
from evaluation.cells.generate import generate
from evaluation.cells.inputs import Input, wanted
from evaluation.cells.measure import BATCH, measure
from evaluation.cells.meter import Held
from evaluation.cells.places import Places
from evaluation.cells.rows import Outcome, Row, failed
from evaluation.makers import Maker, made
from evaluation.methods.base import Method
from evaluation.metrics.base import Extractor, Role
from evaluation.protocols.lossless import DamagedFilm, Film
from infra.engine.base import Lost, Note
from infra.errors import LakeError, LimelightError, UsageError

FACTORY = "evaluation.cells.worker:CellWorker"

SETTING_UP = "set up"
"""First of a worker's words while it loads a method."""


class Answer(TypedDict):
    """What a worker says of an item.

    Attributes:
        cell: The cell's id; empty for a film that was given.
        outcome: The row's; `done` for a film that was given.
        reason: The row's.
        film: Digest of the film that was looked at; empty where there is none.
        generated: Whether the method was at work; False where the row was there.
        measured: Number of extractors that looked; 0 where all features were there.
        failures: Why an extractor found nothing, by its name.
    """

    cell: str
    outcome: str
    reason: str
    film: str
    generated: bool
    measured: int
    failures: dict[str, str]


def item_id(payload: Mapping[str, Any]) -> str:
    """The id of a payload: the cell's, or the film's digest."""
    return str(payload["cell"]["id"] if "cell" in payload else payload["film"]["digest"])


def lost_outcome(lost: Lost) -> Outcome:
    """What becomes of a cell whose worker was lost: whether the next run is to try again.

    Memory that was full, and a method that could not even be loaded, say nothing of the cell. A
    method that died or hung over it would do so again.
    """
    loading = lost.note.startswith(SETTING_UP)
    return "unavailable" if lost.kind == "memory" or loading else "failed"


class CellWorker:
    """Generates and measures.

    The payload of an item is ``{"cell": Cell.to_json()}``, or `Input.to_json`. Models are loaded
    once, when they are first needed; of the methods, only the one at work stays loaded.

    Args:
        root: Folder of the benchmarks (`Places`).
        scratch: Folder for temporary files.
        methods: How to make each method, by what cells call it.
        metrics: How to make each metric.
        retry: Let methods try again where they failed before.
        batch: Frames decoded at a time; values do not depend on it.
    """

    def __init__(
        self,
        root: str,
        scratch: str,
        methods: Mapping[str, Maker],
        metrics: Sequence[Maker],
        retry: bool = False,
        batch: int = BATCH,
    ) -> None:
        self._places = Places(Path(root))
        self._scratch = Path(scratch)
        self._makers = methods
        self._retry = retry
        self._batch = batch
        self._cache = FeatureCache(self._places.features)
        self._wanted = wanted(made(maker) for maker in metrics)
        self._ready: dict[str, Extractor] = {}
        self._at_work: tuple[str, Method] | None = None
        self._unusable: dict[str, str] = {}
        self._others = Held()

    def run(self, payload: Mapping[str, Any], note: Note) -> Answer:
        """Do what is missing of an item.

        Raises:
            LakeError: The disk is full or read-only, or a film that was given is damaged.
            LimelightError: An extractor met what a person has to see to.
        """
        if "cell" in payload:
            return self._cell(Cell.from_json(payload["cell"]), note)
        given = Input.from_json(payload)
        note(f"measure {given.film.digest}")
        try:
            measured, failures = self._measure(given.film, given.roles)
        except DamagedFilm as error:
            raise _given(error) from error
        return Answer(
            cell="",
            outcome="done",
            reason="",
            film=given.film.digest,
            generated=False,
            measured=measured,
            failures=failures,
        )

    def close(self) -> None:
        """Let go of the models."""
        self._part()
        for extractor in self._ready.values():
            extractor.close()
        self._ready = {}

    def _cell(self, cell: Cell, note: Note) -> Answer:
        row = Row.read(self._places, cell.id)
        generated = row is None or not row.stands(self._retry)
        if row is None or generated:
            row = self._generate(cell, note)
        measured, failures = 0, dict[str, str]()
        if row.film:
            note(f"measure {cell.method} {cell.subject.name}")
            try:
                measured, failures = self._measure(row.film, ("output",))
            except DamagedFilm as error:
                if generated:
                    raise
                with suppress(FileNotFoundError):
                    error.path.unlink()
                return self._cell(cell, note)
        return Answer(
            cell=cell.id,
            outcome=row.outcome,
            reason=row.reason,
            film=row.film.digest if row.film else "",
            generated=generated,
            measured=measured,
            failures=failures,
        )

    def _generate(self, cell: Cell, note: Note) -> Row:
        note(f"{SETTING_UP} {cell.method}")
        method = self._method(cell)
        note(f"generate {cell.method} {cell.subject.name}")
        if isinstance(method, str):
            row = failed(cell, method, outcome="unavailable")
        else:
            try:
                with _one_thread():
                    row = generate(method, cell, self._places, self._scratch, self._others)
            except DamagedFilm as error:
                raise _given(error) from error
        row.write(self._places)
        return row

    def _method(self, cell: Cell) -> Method | str:
        """The cell's method, set up; or why it cannot be used on this machine as it is now."""
        if self._at_work and self._at_work[0] == cell.method:
            return self._at_work[1]
        if cell.method in self._unusable:
            return self._unusable[cell.method]
        self._part()
        self._others = Held.now()
        method: Method = made(self._makers[cell.method])
        reason = method.unavailable()
        if not reason:
            if method.digest != cell.method_digest:
                raise UsageError(
                    f"on {gethostname()}, {cell.method} is another method: {method.digest}, not"
                    f" {cell.method_digest}",
                    hint="every machine needs the same version of Limelight, the same weights",
                )
            reason = _set_up(method)
        if reason:
            self._unusable[cell.method] = reason
            return reason
        self._at_work = (cell.method, method)
        return method

    def _part(self) -> None:
        """Let go of the method at work, and of its memory."""
        if self._at_work:
            self._at_work[1].close()
        self._at_work = None
        gc.collect()

    def _measure(self, film: Film, roles: Iterable[Role]) -> tuple[int, dict[str, str]]:
        """Look at a film for what is not in the cache; how many looked, and who failed."""
        asked = {
            digest: extractor
            for role in roles
            for digest, extractor in self._wanted.get(role, {}).items()
        }
        missing = [each for each in sorted(asked) if self._cache.load(film.digest, each) is None]
        if not missing:
            return 0, {}
        before = Held.now()
        failures = self._load({each: asked[each] for each in missing})
        ready = [self._ready[each] for each in missing if each not in failures]
        with _one_thread():
            found = measure(film, ready, self._batch)
        for digest, features in found.features.items():
            self._cache.store(film.digest, digest, features)
        failures |= found.failures
        self._others += Held.now() - before
        return len(missing), {asked[digest].name: why for digest, why in failures.items()}

    def _load(self, extractors: Mapping[str, Extractor]) -> dict[str, str]:
        """Load those that are not loaded yet; why some cannot be, by digest."""
        failures = {}
        for digest, extractor in extractors.items():
            if digest in self._ready:
                continue
            try:
                extractor.setup()
            except (LimelightError, MemoryError):
                raise
            except Exception as error:
                failures[digest] = f"it could not be set up: {type(error).__name__}: {error}"
            else:
                self._ready[digest] = extractor
        return failures


def _set_up(method: Method) -> str:
    """Load its models; why that cannot be, in words, empty where it went well.

    Whatever it is, it says nothing of any film: a package or a weight is missing, or there is not
    enough memory, here and now.
    """
    try:
        method.setup()
    except LimelightError as error:
        return f"it could not be set up: {error.message}"
    except Exception as error:
        return f"it could not be set up: {type(error).__name__}: {error}"
    return ""


def _one_thread() -> AbstractContextManager[None]:
    """Sums in one order, whichever engine is at work: torch gets one thread, where it is in use.

    A worker's process is born with one thread for every library. In a driver's own process, where
    tests and debugging run, only torch is told so, and only once something has imported it.
    """
    if "torch" not in sys.modules:
        return nullcontext()
    from stages.models.nets import one_thread

    return one_thread()


def _given(error: DamagedFilm) -> LakeError:
    """A damaged film that cells are given ends the run; the next one cuts it anew."""
    with suppress(FileNotFoundError):
        error.path.unlink()
    return LakeError(f"{error}", hint="run the same command again: the clip is cut anew")
