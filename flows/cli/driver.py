"""A run's own process: started by the command, supervised, and leaving nothing behind.

The command that a person types is a thin supervisor. It sees to the Prefect server, then
runs itself again as the *driver* in a session of its own, passes Ctrl-C on to it, and ends
whatever the driver's death left over.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from catalog.lake import Lake
from flows.cli.common import INTERRUPTED, bars, end, stderr
from flows.server import (
    BENCHMARK_DEPLOYMENT,
    BUILD_DEPLOYMENT,
    TRAIN_DEPLOYMENT,
    client_environment,
    ensure_server,
    start_serving,
    stop_server,
)
from flows.tally import Counted
from infra.errors import EngineError
from infra.processes import lease_folder, reap_stale, run_in_session

_DRIVER = "LIMELIGHT_DRIVER"


def is_driver() -> bool:
    """Whether this process is a driver, and its parent the supervisor."""
    return _DRIVER in os.environ


def supervise(lake: Path, *, keep_server: bool = True) -> None:
    """Run the rest of this command as a supervised driver, and end with its exit code.

    Returns only in the driver itself.

    Args:
        lake: Made if it is missing.
        keep_server: Leave the Prefect server running for the UI and the next command.

    Raises:
        LakeError: It cannot be made or written.
        EngineError: The Prefect server does not start.
    """
    if is_driver():
        return
    root = Lake.open(lake, create=True).root
    lost = reap_stale(lease_folder(root))
    api_url = ensure_server(root)
    environment = {**os.environ, **client_environment(root, api_url)}
    code = run_in_session(
        [sys.executable, "-m", "flows.cli", *sys.argv[1:]],
        leases=lease_folder(root),
        env={**environment, _DRIVER: "1"},
        killed=lost.append,
    )
    if lost:
        _mark_crashed(lost, environment)
    if keep_server:
        # From now on the UI can retry and start builds too; during the build it would only
        # have taken time from it.
        start_serving(root, api_url)
    else:
        stop_server(root)
    end(code)


def _mark_crashed(runs: list[str], environment: Mapping[str, str]) -> None:
    # Prefect reads its settings at import, and only a driver needs it at all.
    os.environ.update(environment)
    from flows.serving import mark_crashed

    mark_crashed(runs, "Its process was killed; what it had finished is kept.")


def run_build(parameters: Mapping[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Run the build flow here, as a run of its deployment.

    Args:
        parameters: Of `flows.build.build_dataset`.
        quiet: Show no progress bar.

    Returns:
        The summary, as a dictionary.

    Raises:
        EngineError: The Prefect server does not answer.
    """
    from flows import build

    if not quiet:
        build.observers.append(Bar)
    return _run(build.build_dataset, BUILD_DEPLOYMENT, parameters)


def run_training(parameters: Mapping[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Run the training flow here, as a run of its deployment.

    Args:
        parameters: Of `flows.train.train_model`.
        quiet: Show no progress.

    Returns:
        The `flows.runs.TrainingRun`, as a dictionary, and its ``benchmark``, if one was asked for.

    Raises:
        EngineError: The Prefect server does not answer, or the ranks are lost again and again.
        TrainingError: The run stopped by itself.
    """
    from flows import benchmark, train
    from flows.cli.dials import Dials

    if not quiet:
        train.observers.append(Dials)
        benchmark.observers.append(Bar)
    return _run(train.train_model, TRAIN_DEPLOYMENT, parameters)


def run_benchmark(parameters: Mapping[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Run the benchmark flow here, as a run of its deployment.

    Args:
        parameters: Of `flows.benchmark.benchmark_methods`.
        quiet: Show no progress bar.

    Returns:
        The `flows.findings.BenchmarkRun`, as a dictionary.

    Raises:
        EngineError: The Prefect server does not answer.
    """
    from flows import benchmark

    if not quiet:
        benchmark.observers.append(Bar)
    return _run(benchmark.benchmark_methods, BENCHMARK_DEPLOYMENT, parameters)


def _run(flow: Any, deployment: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Run a flow as a run of its deployment; what it returns."""
    import httpx
    from prefect.exceptions import CancelledRun

    from flows.serving import attached_run

    try:
        result: dict[str, Any] = attached_run(flow, deployment, parameters)
    except CancelledRun:
        stderr.print("cancelled: what was finished is kept; the same command resumes")
        end(INTERRUPTED)
    except httpx.TransportError as error:
        raise EngineError(
            f"the Prefect server at {os.environ.get('PREFECT_API_URL')} does not answer: {error}",
            hint="see to that server (or unset PREFECT_API_URL), then run the same command "
            "again: what was finished is kept",
        ) from error
    return result


class Bar:
    """A progress bar on standard error that follows a tally; use as a context manager."""

    def __init__(self, tally: Counted) -> None:
        self._tally = tally
        self._progress = bars()

    def __enter__(self) -> Self:
        tally = self._tally
        task = self._progress.add_task(tally.step, total=None)
        refresh = self._progress.get_renderables

        def current() -> Any:
            self._progress.update(
                task,
                description=tally.step,
                total=tally.total or None,
                completed=tally.finished,
            )
            return refresh()

        self._progress.get_renderables = current  # type: ignore[method-assign]
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()
