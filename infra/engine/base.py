"""The words of the engine, shared by its two backends (Ray actors, in process).

A *worker* is an object with ``run(payload, note)`` and ``close()``; a *pool* holds several
alike, each with at most one item in flight; an *engine* owns named pools. Whatever happens
to an item, exactly one :class:`Done` or :class:`Lost` with its id comes back.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, Protocol

Note = Callable[[str], None]
"""Called by a worker to say what it is at; the last words are kept if it dies."""

Kind = Literal["raised", "died", "hung", "memory"]


@dataclass(frozen=True)
class Resources:
    """What one worker asks of the cluster.

    Attributes:
        num_cpus: Processor cores (may be a fraction).
        num_gpus: GPUs (may be a fraction; bookkeeping, not a memory limit).
        custom: Named custom resources of the cluster, e.g. ``{"decoder": 1}``.
        memory_bytes: Limit on a worker's own data beyond what it starts with; 0 = none.
    """

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    custom: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: int = 0


class Worker(Protocol):
    """What a pool holds. Made once a worker by its :class:`WorkerSpec`; models load there."""

    def run(self, payload: Any, note: Note) -> Any:
        """Do one item; the value (small: no frames) goes back to the driver."""

    def close(self) -> None:
        """Let go of models and files."""


@dataclass(frozen=True)
class WorkerSpec:
    """How to make a worker in another process: an import path, and plain arguments.

    Attributes:
        factory: ``"package.module:callable"``.
        arguments: Keyword arguments, made of JSON types only.
    """

    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> Worker:
        """Import the factory and call it."""
        module, _, name = self.factory.partition(":")
        worker: Worker = getattr(import_module(module), name)(**self.arguments)
        return worker


@dataclass(frozen=True)
class Item:
    """One piece of work.

    Attributes:
        id: Joins the result to its item; unique within a run.
        payload: What the worker gets (small, picklable).
        size: Bytes of memory that the item is expected to hold while in flight.
        deadline: Seconds after which the worker counts as hung.
    """

    id: str
    payload: Any
    size: int = 0
    deadline: float = 600.0


@dataclass(frozen=True)
class Done:
    """An item's value, and who made it.

    Attributes:
        id: The item's.
        value: What ``run`` returned.
        worker: Name of the worker.
        seconds: Wall time of the last attempt.
        attempts: 1, or 2 where the first attempt lost its worker or raised.
    """

    id: str
    value: Any
    worker: str
    seconds: float
    attempts: int = 1


@dataclass(frozen=True)
class Lost:
    """An item that failed twice, the second time alone.

    Attributes:
        id: The item's.
        kind: ``raised`` an exception, ``died`` with its process, ``hung`` beyond its
            deadline, or met the ``memory`` limit.
        error: Class of the exception, or the signal's or exit's name.
        message: The exception's text, or what the watchdog saw.
        stderr: The last lines that the worker wrote to stderr.
        note: The worker's last note.
        worker: Name of the worker.
        seconds: Wall time of the last attempt.
        attempts: How often it was tried.
    """

    id: str
    kind: Kind
    error: str
    message: str
    stderr: str
    note: str
    worker: str
    seconds: float
    attempts: int = 2


Result = Done | Lost


class Pool(Protocol):
    """Workers that are alike. ``run`` may be called from several threads at once."""

    def run(
        self, items: Iterable[Item], *, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Result]:
        """Yield one result an item, as they come; items are drawn only as workers free up.

        Once ``cancelled`` says so, or the iterator is closed, what is in flight is killed and
        the iteration ends, without results for the rest.

        Raises:
            LakeError: A worker raised one (disk full, read-only): nothing else will go well.
            WeightsError: A worker lacks a weight, or has another net's.
            UsageError: A worker's machine has not what the config asks for.
            EngineError: No worker can be made, or they die whatever they are given.
        """


class Engine(Protocol):
    """Owner of named pools; use it as a context manager, so that nothing stays behind."""

    def pool(self, name: str, spec: WorkerSpec, resources: Resources, size: int | None) -> Pool:
        """The pool of that name, made at first use; ``size`` None means as many as fit.

        Raises:
            EngineError: The cluster can never meet ``resources``, or the name belongs to a
                pool of other workers.
        """

    def close(self) -> None:
        """End every worker."""

    def __enter__(self) -> "Engine": ...

    def __exit__(self, *exc: object) -> None: ...
