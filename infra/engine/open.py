"""Opening the engine."""

from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Literal, Self

from infra.engine.attempts import other_worker
from infra.engine.base import Engine, Resources, WorkerSpec
from infra.engine.inline import InlineEngine
from infra.engine.ledger import Claim, Ledger, amounts
from infra.engine.pool import WorkerPool
from infra.engine.process import import_path
from infra.settings import Settings, load_settings

if TYPE_CHECKING:
    from infra.engine.keeper import Hand


def open_engine(
    backend: Literal["ray", "inline"] | None = None, settings: Settings | None = None
) -> Engine:
    """Open an engine; use it as a context manager, so that nothing stays behind.

    Args:
        backend: ``"ray"`` or ``"inline"``; by default what the settings say.
        settings: The settings; by default the environment's.

    Raises:
        EngineError: Ray does not start, or does not answer at ``settings.ray_address``.
    """
    settings = settings or load_settings()
    if (backend or settings.backend) == "inline":
        return InlineEngine()
    return RayEngine(settings)


class RayEngine:
    """Pools of workers on a Ray cluster."""

    def __init__(self, settings: Settings) -> None:
        # Ray takes most of a second to import; the inline engine does without.
        from infra.engine.cluster import Cluster

        self._settings = settings
        self._cluster = Cluster(settings)
        self._ledger = Ledger(self._cluster.total())
        self._pools: dict[str, WorkerPool] = {}
        self._kinds: dict[str, tuple[WorkerSpec, Resources]] = {}
        self._lock = Lock()

    def pool(
        self, name: str, spec: WorkerSpec, resources: Resources, size: int | None = None
    ) -> WorkerPool:
        """The pool of that name, made at first use.

        Args:
            name: The pool's name; its workers are ``<name>-0``, ``<name>-1`` and so on.
            spec: How to make a worker.
            resources: What a worker asks of the cluster.
            size: How many workers it may have; by default as many as fit, and no more than
                ``LIMELIGHT_WORKERS``. They start as work comes, while there is place.

        Raises:
            EngineError: The cluster can never meet ``resources``, or ``size`` times that; or
                the name belongs to a pool of other workers.
        """
        with self._lock:
            if name not in self._pools:
                self._pools[name] = self._make(name, spec, resources, size)
                self._kinds[name] = (spec, resources)
            if self._kinds[name] != (spec, resources):
                raise other_worker(name)
            return self._pools[name]

    def close(self) -> None:
        """End every worker, and Ray if we started it."""
        for pool in self._pools.values():
            pool.close()
        self._cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _make(
        self, name: str, spec: WorkerSpec, resources: Resources, size: int | None
    ) -> WorkerPool:
        from infra.engine.actors import ActorHand

        settings = self._settings
        room = self._cluster.capacity(resources, size or 1)
        if not resources.memory_bytes:
            resources = replace(resources, memory_bytes=settings.memory_bytes)
        path = import_path()

        def make(worker: str) -> "Hand":
            return ActorHand(
                worker,
                spec,
                resources,
                log=self._cluster.folder / "workers" / f"{worker}.log",
                path=path,
                start_seconds=settings.start_seconds,
            )

        return WorkerPool(
            Claim(name, amounts(resources), self._ledger),
            size or min(room, settings.workers or room),
            window_bytes=settings.window_bytes,
            make=make,
        )
