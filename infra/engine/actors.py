"""Workers on a Ray cluster: the actor is the worker's host, wherever there is a place for it.

The actor restarts nothing and retries nothing by itself (``max_restarts=0``,
``max_task_retries=0``): it hosts a :class:`infra.engine.process.WorkerProcess`, which sees
exactly how its worker ended. So if the *actor* is lost, that is the cluster's doing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from infra.engine.attempts import Attempted, Broken, HostLostError
from infra.engine.base import Resources, WorkerSpec
from infra.engine.board import Attempt
from infra.engine.process import CLOSE_SECONDS, WorkerProcess
from infra.errors import EngineError

_GRACE_SECONDS = 30.0


class ActorHand:
    """The driver's hold on one actor.

    Args:
        name: The worker's name.
        spec: How to make the worker.
        resources: What it asks of the cluster.
        log: File on the actor's machine that takes the worker's stderr.
        path: Folders to import from, before the installed packages.
        start_seconds: How long it may take to find a place and to make the worker.
    """

    def __init__(
        self,
        name: str,
        spec: WorkerSpec,
        resources: Resources,
        *,
        log: Path,
        path: Sequence[str],
        start_seconds: float,
    ) -> None:
        self._name = name
        self._resources = resources
        self._start_seconds = start_seconds
        host = ray.remote(WorkerProcess).options(
            num_cpus=resources.num_cpus,
            num_gpus=resources.num_gpus,
            resources=dict(resources.custom),
            max_restarts=0,
            max_task_retries=0,
        )
        self._actor: Any = host.remote(
            name,
            spec,
            memory_bytes=resources.memory_bytes,
            log=log,
            path=path,
            gpus=resources.num_gpus,
        )

    def start(self) -> None:
        """Wait until the worker is made.

        Raises:
            LimelightError: It cannot be made, or there was no place for it in time.
            HostLostError: The actor was lost.
        """
        broken: Broken | None = self._get(self._actor.start.remote(), self._start_seconds)
        if broken:
            raise broken.error

    def run(self, attempt: Attempt) -> Attempted:
        """Do one item.

        Raises:
            HostLostError: The actor was lost.
        """
        deadline = attempt.item.deadline
        reference = self._actor.run.remote(attempt.payload, deadline, fresh=attempt.alone)
        came: Attempted = self._get(reference, deadline + self._start_seconds + _GRACE_SECONDS)
        return came

    def stop(self) -> None:
        """Let the worker close; the actor is to be killed after that."""
        self._get(self._actor.stop.remote(), 2 * CLOSE_SECONDS)

    def kill(self) -> None:
        """End the actor; its worker's process ends with it."""
        ray.kill(self._actor)

    def _get(self, reference: Any, seconds: float) -> Any:
        try:
            return ray.get(reference, timeout=seconds)
        except RayTaskError as error:
            raise EngineError(f"the host of worker {self._name} failed: {error}") from error
        except GetTimeoutError as error:
            raise EngineError(
                f"worker {self._name} ({self._resources}) gave no sign for {seconds:g} s; "
                f"free in the cluster now: {ray.available_resources()}",
                hint="wait until others have left the cluster, ask for less, or raise "
                "LIMELIGHT_START_SECONDS if its models take that long to load",
            ) from error
        except RayError as error:
            raise HostLostError(str(error)) from error
