"""The Prefect flow ``build_dataset``: what runs, in which order, and how Prefect shows it."""

import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event, current_thread, main_thread
from time import monotonic
from typing import Any, Literal

from prefect import flow
from prefect.futures import wait
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed
from prefect.task_runners import ThreadPoolTaskRunner

from catalog.lake import Lake
from catalog.release import Release
from flows.builder import Build, Request
from flows.config import BuildConfig
from flows.reporting import Reporter, publish_report
from flows.serving import CancelWatch, too_late
from flows.steps import step
from flows.summary import summarise
from flows.tally import Tally
from infra.engine.open import open_engine
from infra.processes import lease_folder, name_run, quiet_teardown
from infra.settings import load_settings

LATE = timedelta(hours=6)
"""A scheduled build that starts later than this is left to the next one."""

PARTITIONS_AT_ONCE = 4
"""Partitions whose threads wait at once; they share the pools, so that none runs dry."""

# Also where Prefect runs this flow in a process of its own.
quiet_teardown()

interrupted = Event()
"""Set on Ctrl-C or SIGTERM: the build stops in good order and keeps what it has."""

observers: list[Callable[[Tally], AbstractContextManager[object]]] = [Reporter]
"""Each is entered with the tally while a build runs; the command line adds a progress bar."""


@dataclass(frozen=True)
class Partition:
    """One Prefect task's share of a group's work."""

    number: int
    of: int
    tasks: Sequence[tuple[str, list[str]]]

    def __str__(self) -> str:
        return f"{self.number} of {self.of}"


@step(name="take-up")
def take_up(build: Build) -> int:
    """List the source, digest what is new, and settle the members."""
    build.take_up()
    return len(build.members)


@step(name="compute", task_run_name="{stages}: partition {partition}")
def compute(build: Build, group: int, partition: Partition, stages: str) -> None:
    """Run one group of stages on one partition."""
    build.compute(build.groups[group], partition.tasks)


@step(name="pack")
def pack(build: Build) -> Release | None:
    """Publish the release of all that was kept."""
    return build.pack()


@flow(
    name="build-dataset",
    flow_run_name="build {name}",
    task_runner=ThreadPoolTaskRunner(max_workers=PARTITIONS_AT_ONCE),  # type: ignore[arg-type]
    persist_result=False,
)
def build_dataset(
    source: str,
    name: str,
    lake: str,
    config: BuildConfig = BuildConfig(),  # noqa: B008 - frozen
    backend: Literal["ray", "inline"] = "ray",
) -> Any:
    """Build a release from raw clips; only what is missing is computed.

    Args:
        source: Folder, glob, fsspec URL, or a CSV or Parquet list of clips.
        name: Name of the release.
        lake: Folder of the lake.
        config: Stages, engine and packing.
        backend: Ray actors, or this process.

    Returns:
        The `flows.summary.Summary` as a dictionary of JSON types.
    """
    stop_in_good_order()
    if too_late(LATE):
        return Completed(name="SkippedLate", message="Too late; the next run takes up what is new")
    started = monotonic()
    with CancelWatch() as watch:

        def cancelled() -> bool:
            return interrupted.is_set() or watch.cancelled()

        build = Build(
            Lake.open(Path(lake), create=True),
            Request(source, name, config),
            lambda: open_engine(backend, load_settings(workers=config.engine.workers or None)),
            run=str(flow_run.id),
            cancelled=cancelled,
        )
        name_run(lease_folder(build.lake.root), build.run)
        try:
            with ExitStack() as stack:
                for observer in observers:
                    stack.enter_context(observer(build.tally))
                release = _run(build, cancelled)
        finally:
            build.close()
        summary = summarise(build, release, monotonic() - started)
        publish_report(summary)
        if cancelled():
            return Cancelled(message="Cancelled; what was finished is kept. Build again to resume.")
    return asdict(summary)


def stop_in_good_order() -> None:
    """Turn Ctrl-C and SIGTERM into a cancelled build.

    Called inside the flow, since Prefect puts its own handler of SIGTERM there, by which a
    run would end as crashed.
    """
    if current_thread() is main_thread():
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, lambda *_: interrupted.set())


def _run(build: Build, cancelled: Any) -> Release | None:
    take_up(build)
    for number, group in enumerate(build.groups):
        if cancelled():
            return None
        parts = build.partitions(group)
        futures = [
            compute.submit(build, number, Partition(i, len(parts), part), ", ".join(group.stages))
            for i, part in enumerate(parts, start=1)
        ]
        wait(futures)
        for future in futures:
            future.result()
        build.finish(group)
    return None if cancelled() else pack(build)


__all__ = ["build_dataset", "interrupted", "observers"]
