"""The engine without Ray: one worker a pool, in this process. For tests and debugging.

What a process of its own makes possible is missing here: deadlines and memory limits are not
enforced, and a worker that ends its process ends ours.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from time import monotonic
from typing import Self

from infra.engine.attempts import HOPELESS, cannot_make, error_name, other_worker
from infra.engine.base import Done, Item, Lost, Resources, Result, Worker, WorkerSpec
from infra.engine.process import TAIL_LINES
from infra.errors import EngineError, LimelightError

ATTEMPTS = 2


class InlinePool:
    """One worker, made at the first item; several threads take turns with it."""

    size = 1

    def __init__(self, name: str, spec: WorkerSpec) -> None:
        self._name = f"{name}-inline"
        self.spec = spec
        self._worker: Worker | None = None
        self._turn = Lock()
        self._closed = False

    def run(
        self, items: Iterable[Item], *, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Result]:
        """Yield one result an item; see :class:`infra.engine.base.Pool`."""
        for item in items:
            if cancelled():
                return
            with self._turn:
                result = self._do(item)
            yield result

    def close(self) -> None:
        """Close the worker."""
        with self._turn:
            self._closed = True
            self._discard()

    def _do(self, item: Item) -> Result:
        for attempt in range(1, ATTEMPTS + 1):
            notes: list[str] = []
            worker = self._ready()
            began = monotonic()
            try:
                value = worker.run(item.payload, notes.append)
                return Done(item.id, value, self._name, monotonic() - began, attempt)
            except HOPELESS:
                raise
            except (Exception, SystemExit) as error:
                self._discard()
                lost = Lost(
                    item.id,
                    "memory" if isinstance(error, MemoryError) else "raised",
                    error_name(error),
                    str(error),
                    "\n".join(traceback.format_exc().splitlines()[-TAIL_LINES:]),
                    notes[-1] if notes else "",
                    self._name,
                    monotonic() - began,
                    attempt,
                )
        return lost

    def _ready(self) -> Worker:
        if self._closed:
            raise EngineError("the engine is closed", hint="open a new one")
        if self._worker is None:
            try:
                self._worker = self.spec.make()
            except LimelightError:
                raise
            except Exception as error:
                raise cannot_make(self.spec, f"{error_name(error)}: {error}") from error
        return self._worker

    def _discard(self) -> None:
        worker, self._worker = self._worker, None
        if worker:
            worker.close()


class InlineEngine:
    """Pools of one worker each, in this process."""

    def __init__(self) -> None:
        self._pools: dict[str, InlinePool] = {}

    def pool(
        self, name: str, spec: WorkerSpec, resources: Resources, size: int | None = None
    ) -> InlinePool:
        """The pool of that name; resources and size do not matter here."""
        pool = self._pools.setdefault(name, InlinePool(name, spec))
        if pool.spec != spec:
            raise other_worker(name)
        return pool

    def close(self) -> None:
        """Close every worker."""
        for pool in self._pools.values():
            pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
