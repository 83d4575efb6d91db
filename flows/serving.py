"""Deployments: served to the UI, on a schedule, or run here while the UI watches.

A run started from the command line is a run *of the deployment*, executed in the command's
own process (:func:`attached_run`). So the UI can retry it: the process that serves the
deployment picks it up. A served run is cancelled by that process; an attached run asks for
itself (:class:`CancelWatch`). A run whose driver was killed is marked crashed as soon as
somebody notices (:func:`mark_crashed`), or when its heartbeats stop.
"""

import asyncio
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextvars import copy_context
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self, cast
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from prefect import runtime
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus
from prefect.context import FlowRunContext
from prefect.deployments.runner import RunnerDeployment
from prefect.events import ChangeFlowRunState, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.flow_engine import run_flow
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.runner import Runner
from prefect.schedules import Cron, Schedule
from prefect.states import Crashed, Pending
from prefect.types.entrypoint import EntrypointType

from flows.daemon import Daemon
from flows.server import HEARTBEAT_SECONDS
from infra.errors import UsageError

TAG = "limelight"
"""On every run of ours; the crash watch looks at no other."""

POLL_SECONDS = 2.0
CRASH_WATCH = "Limelight: mark runs as crashed whose heartbeats stop"
_UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED, StateType.CANCELLING]


def attached_run(
    flow: Flow[..., Any], deployment: str, parameters: Mapping[str, Any], *, name: str | None = None
) -> Any:
    """Run ``flow`` here and now, as a run of its deployment.

    Args:
        flow: The flow, importable by its module's name.
        deployment: Name of the deployment, registered if it is not yet.
        parameters: Its arguments; the run holds them as JSON, for the UI and for a retry.
        name: Name of the run; Prefect makes one up if it is absent.

    Returns:
        What the flow returns.

    Raises:
        Exception: Whatever the flow raises; ``prefect.exceptions.CancelledRun`` if it was
            cancelled.
    """
    deployment_id = cast(UUID, _deployment(flow, deployment).apply())
    with get_client(sync_client=True) as client:
        # Born pending, never scheduled: the serving process does not take it for its own.
        run = client.create_flow_run_from_deployment(
            deployment_id,
            parameters=flow.serialize_parameters(dict(parameters)),
            state=Pending(message="Started from the command line"),
            name=name,
        )
    return run_flow(flow, flow_run=run)


class CancelWatch:
    """Asks every two seconds whether somebody cancelled the current flow run.

    Prefect itself stops only the runs that it served. Use it as a context manager inside
    the flow, and return ``prefect.states.Cancelled`` soon after :meth:`cancelled` is true.
    """

    def __init__(self, period: float = POLL_SECONDS) -> None:
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            raise RuntimeError("a CancelWatch is for use inside a flow run")
        parent = runtime.flow_run.parent_flow_run_id
        # A flow that runs as a part of another ends with it.
        self._run_ids = [context.flow_run.id, *([UUID(parent)] if parent else [])]
        self._period = period
        self._cancelled = Event()
        self._over = Event()
        # The context brings the settings along: which server, with which key.
        self._thread = Thread(target=copy_context().run, args=(self._watch,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()

    def cancelled(self) -> bool:
        """Whether the run is to end (it costs nothing to ask)."""
        return self._cancelled.is_set()

    def _watch(self) -> None:
        with get_client(sync_client=True) as client:
            while not self._over.wait(self._period):
                try:
                    states = [client.read_flow_run(each).state for each in self._run_ids]
                except ObjectNotFound:
                    # Deleted in the UI: nobody wants it any more.
                    self._cancelled.set()
                except httpx.HTTPError:
                    # The server may be restarting; the build goes on meanwhile.
                    continue
                else:
                    if any(
                        each and (each.is_cancelling() or each.is_cancelled()) for each in states
                    ):
                        self._cancelled.set()


def mark_crashed(run_ids: Iterable[UUID | str], message: str) -> list[UUID]:
    """Mark runs, and their unfinished tasks, as crashed because their driver is gone.

    Args:
        run_ids: Flow runs; those that have ended or that the server does not know are left.
        message: What became of the driver, in words.

    Returns:
        The runs that were marked.
    """
    marked = []
    with get_client(sync_client=True) as client:
        for run_id in (UUID(str(run_id)) for run_id in run_ids):
            try:
                answer: OrchestrationResult[Any] = client.set_flow_run_state(
                    run_id, Crashed(message=message)
                )
            except ObjectNotFound:
                continue
            if answer.status == SetStateStatus.ACCEPT:
                marked.append(run_id)
                _mark_tasks_crashed(client, run_id, message)
    return marked


def too_late(grace: timedelta) -> bool:
    """Whether the current run is a scheduled one that starts more than ``grace`` late.

    After a time without server or serving process Prefect runs everything that was missed,
    one run after the other. A flow asks this first, and if so returns
    ``Completed(name="SkippedLate")``. A run that a person started or retries is never late.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None or not run.auto_scheduled or run.run_count > 1:
        return False
    if run.start_time is None or run.expected_start_time is None:
        return False
    return run.start_time - run.expected_start_time > grace


def local_cron(cron: str) -> Schedule:
    """A schedule in the machine's own time zone.

    Args:
        cron: Five fields, e.g. ``0 2 * * *`` for every night at two.

    Raises:
        UsageError: ``cron`` is no cron expression.
    """
    try:
        return Cron(cron, timezone=_local_zone())
    except ValueError as error:
        raise UsageError(
            f"{cron!r} is no cron expression",
            hint='give five fields: minute, hour, day, month, weekday; e.g. "0 2 * * *"',
        ) from error


def serve_schedule(
    flow: Flow[..., Any], deployment: str, parameters: Mapping[str, Any], schedule: Schedule | str
) -> None:
    """Serve a deployment that runs on a schedule, one run at a time, until interrupted.

    The schedule is paused while nobody serves it.

    Args:
        flow: The flow, importable by its module's name.
        deployment: Name of the deployment.
        parameters: Its arguments at every scheduled run.
        schedule: When it runs; text is a cron expression, read by :func:`local_cron`.

    Raises:
        UsageError: ``schedule`` is text, but no cron expression.
    """
    if isinstance(schedule, str):
        schedule = local_cron(schedule)
    install_crash_watch()
    served = _deployment(flow, deployment, parameters=parameters, schedule=schedule)
    asyncio.run(_serve(served, pause_on_shutdown=True))


def serve(flows: Mapping[str, Flow[..., Any]]) -> None:
    """Serve deployments to the UI, of each one run at a time, until terminated.

    Args:
        flows: By the names of their deployments.
    """
    install_crash_watch()
    deployments = [_deployment(flow, name) for name, flow in flows.items()]
    asyncio.run(_serve(*deployments, pause_on_shutdown=False))


def install_crash_watch() -> None:
    """Let the server mark a run of ours as crashed after three missed heartbeats."""
    with get_client(sync_client=True) as client:
        if client.read_automations_by_name(CRASH_WATCH):
            return
    ends = ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut", "SkippedLate")
    Automation(
        name=CRASH_WATCH,
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ends)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={
                "prefect.resource.role": "tag",
                "prefect.resource.id": f"prefect.tag.{TAG}",
            },
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(seconds=3 * HEARTBEAT_SECONDS),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message="Its process stopped answering.",
                force=False,
            )
        ],
    ).create()


class _Runner(Runner):
    fellows: Sequence["_Runner"]
    """All runners of this process, itself among them: they end together."""

    async def __aenter__(self) -> Self:
        runner = await super().__aenter__()
        if self.stopping:  # it was told to while it was starting
            self._ending = asyncio.create_task(self.end())
        return runner

    async def end(self) -> None:
        """Stop all that it runs, if it has started; else it ends as soon as it has."""
        if self.started:
            await self.astop()

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        # Prefect's own handler leaves the loop before anything has been stopped, and of several
        # runners only the last one's is called.
        loop = asyncio.get_running_loop()
        ending = [runner for runner in self.fellows if not runner.stopping]
        for runner in ending:
            runner.stopping = True
        loop.call_soon_threadsafe(lambda: [loop.create_task(runner.end()) for runner in ending])


async def _serve(*deployments: RunnerDeployment, pause_on_shutdown: bool) -> None:
    # A runner each: a training that takes days keeps no build waiting.
    runners = [
        _Runner(
            name=deployment.name,
            query_seconds=POLL_SECONDS,
            limit=1,
            pause_on_shutdown=pause_on_shutdown,
        )
        for deployment in deployments
    ]
    for runner, deployment in zip(runners, deployments, strict=True):
        runner.fellows = runners
        await runner.aadd_deployment(deployment)
    # Ctrl-C ends them in the same orderly way as SIGTERM, which Prefect itself installs.
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, runners[0].handle_sigterm)
    await asyncio.gather(*(runner.start() for runner in runners))


def _deployment(
    flow: Flow[..., Any],
    name: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    schedule: Schedule | None = None,
) -> RunnerDeployment:
    return RunnerDeployment.from_flow(
        flow,
        name,
        parameters=flow.serialize_parameters(dict(parameters or {})),
        schedule=schedule,
        paused=False,
        tags=[TAG],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _mark_tasks_crashed(client: SyncPrefectClient, run_id: UUID, message: str) -> None:
    unfinished = TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED))
    for task in client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])),
        task_run_filter=TaskRunFilter(state=unfinished),
    ):
        client.set_task_run_state(task.id, Crashed(message=message), force=True)


def _local_zone() -> str:
    """The machine's time zone by its IANA name; UTC where it has none."""
    link = Path("/etc/localtime").resolve()
    name = str(link).partition("zoneinfo/")[2]
    try:
        return ZoneInfo(name).key
    except (ValueError, ZoneInfoNotFoundError):
        return "UTC"


if __name__ == "__main__":
    Daemon(Path.cwd(), "serving").claim()
    _pairs = (argument.split("=", 1) for argument in sys.argv[1:])
    serve({n: load_flow_from_entrypoint(f, use_placeholder_flow=False) for n, f in _pairs})
