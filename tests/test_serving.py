"""Runs of deployments: attached, retried, cancelled, crashed, scheduled."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun, ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Interval
from prefect.states import AwaitingRetry, Cancelling

from flows import serving
from flows.daemon import Daemon
from flows.server import Server, start_serving
from infra.errors import UsageError
from tests import serving_flows as flows_under_test

ROOT = str(Path(__file__).parents[1])
pytestmark = pytest.mark.prefect


@pytest.fixture
def client(prefect_api: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def run_named(client: SyncPrefectClient, name: str) -> FlowRun | None:
    named = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
    return next(iter(client.read_flow_runs(flow_run_filter=named)), None)


def eventually(look: Callable[[], Any], seconds: float = 120.0) -> Any:
    """The first truthy thing that ``look`` returns."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return seen


def state_is(client: SyncPrefectClient, name: str, state: str) -> FlowRun | None:
    run = run_named(client, name)
    return run if run is not None and run.state is not None and run.state.name == state else None


def deployed(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    with suppress(ObjectNotFound):
        return client.read_deployment_by_name(name)
    return None


@contextmanager
def program(code: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program beside this one; killed at the end if it still runs."""
    monkeypatch.setenv("PYTHONPATH", ROOT)
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_an_attached_run_belongs_to_its_deployment(client: SyncPrefectClient) -> None:
    assert serving.attached_run(flows_under_test.add, "sums", {"left": 2}, name="two-and-one") == 3
    run = run_named(client, "two-and-one")
    assert run is not None
    assert run.state is not None
    assert run.state.is_completed()
    assert run.parameters["left"] == 2
    assert run.deployment_id == client.read_deployment_by_name("add/sums").id


def test_a_failed_attached_run_is_retried_beside_a_long_run_of_another_deployment(
    client: SyncPrefectClient,
    prefect_server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", ROOT)
    flows = {name: f"tests.serving_flows.{name}" for name in ("wait_for_cancel", "flaky")}
    for _ in range(2):
        start_serving(prefect_server.home.parent, prefect_server.api_url, served=flows)
    long = eventually(lambda: deployed(client, "wait-for-cancel/wait_for_cancel"))
    client.create_flow_run_from_deployment(long.id, name="long")
    with pytest.raises(RuntimeError, match="first time"):
        serving.attached_run(
            flows_under_test.flaky, "flaky", {"marker": str(tmp_path / "tried")}, name="second-luck"
        )
    run = run_named(client, "second-luck")
    assert run is not None
    eventually(lambda: state_is(client, "long", "Running"))
    # What the UI's button sends.
    client.set_flow_run_state(run.id, AwaitingRetry(message="Retry from the UI"), force=False)
    again = eventually(lambda: state_is(client, "second-luck", "Completed"))
    assert again.id == run.id
    assert again.run_count == 2
    assert state_is(client, "long", "Running")
    assert Daemon(prefect_server.home, "serving").stop()  # and all that it runs, in good order
    assert state_is(client, "long", "Cancelled")


def test_told_to_end_between_two_starts_all_runners_end_in_good_order(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter, met = Runner.__aenter__, []

    async def enter_late(runner: Runner) -> Runner:
        met.append(runner)
        if len(met) == 2:
            while not met[0].started:
                await asyncio.sleep(0.01)
            signal.raise_signal(signal.SIGTERM)
        return await enter(runner)

    monkeypatch.setattr(Runner, "__aenter__", enter_late)
    served = [
        serving._deployment(flow, "interrupted", schedule=Interval(3600))
        for flow in (flows_under_test.add, flows_under_test.nightly)
    ]
    before = signal.getsignal(signal.SIGTERM)
    try:
        asyncio.run(serving._serve(*served, pause_on_shutdown=True))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [runner.started for runner in met] == [False, False]
    assert client.read_deployment_by_name("add/interrupted").paused
    assert client.read_deployment_by_name("nightly/interrupted").paused


def test_an_attached_run_sees_that_it_is_cancelled(client: SyncPrefectClient) -> None:
    def cancel() -> None:
        run = eventually(lambda: state_is(client, "called-off", "Running"))
        client.set_flow_run_state(run.id, Cancelling())

    Thread(target=cancel, daemon=True).start()
    with pytest.raises(CancelledRun):
        serving.attached_run(flows_under_test.wait_for_cancel, "wait", {}, name="called-off")
    assert state_is(client, "called-off", "Cancelled")


def test_the_run_of_a_killed_driver_is_marked_as_crashed(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from tests import serving_flows\nimport flows.serving\n"
        "flows.serving.attached_run(serving_flows.busy, 'busy', {}, name='orphan')\n"
    )

    def task_state() -> str | None:
        tasks = client.read_task_runs()
        return next((task.state_name for task in tasks if task.name.startswith("nap")), None)

    with program(code, monkeypatch) as driver:
        eventually(lambda: task_state() == "Running")
        driver.kill()
    run = run_named(client, "orphan")
    assert run is not None
    assert serving.mark_crashed([run.id, uuid4()], "its driver was killed") == [run.id]
    crashed = state_is(client, "orphan", "Crashed")
    assert crashed is not None
    assert crashed.state is not None
    assert crashed.state.message == "its driver was killed"
    assert task_state() == "Crashed"
    assert serving.mark_crashed([run.id], "again") == []


def test_a_scheduled_run_really_fires_and_pauses_with_its_server(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from tests import serving_flows\nimport flows.serving\n"
        "from prefect.schedules import Interval\n"
        "flows.serving.serve_schedule(\n"
        "    serving_flows.nightly, 'soon', {'grace_seconds': 60}, Interval(2)\n"
        ")\n"
    )

    def fired() -> bool:
        states = [run.state for run in client.read_flow_runs() if run.auto_scheduled]
        return any(state is not None and state.name == "Completed" for state in states)

    with program(code, monkeypatch) as process:
        eventually(fired)
        assert not client.read_deployment_by_name("nightly/soon").paused
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert client.read_deployment_by_name("nightly/soon").paused


@pytest.mark.parametrize(
    ("minutes", "scheduled", "count", "late"),
    [
        (61, True, 1, True),
        (59, True, 1, False),
        (61, False, 1, False),  # A person started it.
        (61, True, 2, False),  # A person retries it.
    ],
)
def test_only_a_scheduled_run_beyond_the_grace_is_too_late(
    minutes: int, scheduled: bool, count: int, late: bool
) -> None:
    due = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
    run = FlowRun(
        flow_id=uuid4(),
        auto_scheduled=scheduled,
        run_count=count,
        expected_start_time=due,
        start_time=due + timedelta(minutes=minutes),
    )
    with FlowRunContext.model_construct(flow_run=run):
        assert serving.too_late(timedelta(hours=1)) is late


def test_nothing_is_too_late_outside_a_run() -> None:
    assert not serving.too_late(timedelta(0))


def test_the_crash_watch_is_installed_once(client: SyncPrefectClient) -> None:
    serving.install_crash_watch()
    serving.install_crash_watch()
    assert len(client.read_automations_by_name(serving.CRASH_WATCH)) == 1


def test_a_bad_cron_expression_is_refused_with_an_example() -> None:
    assert serving.local_cron("0 2 * * *").cron == "0 2 * * *"
    with pytest.raises(UsageError, match="'at two'"):
        serving.serve_schedule(flows_under_test.nightly, "never", {}, "at two")


def test_a_cancel_watch_outside_a_run_is_refused() -> None:
    with pytest.raises(RuntimeError, match="inside a flow run"):
        serving.CancelWatch()
