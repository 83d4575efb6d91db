"""The Prefect flow ``benchmark_methods``: from a protocol and methods to a report."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.states import Cancelled

from catalog.lake import Lake
from evaluation.protocols.tables import Protocol
from evaluation.records.record import read_record
from flows.benchmark_order import BenchmarkOrder, gpus_here
from flows.benchmarker import Benchmark, CalledOffError
from flows.build import interrupted, stop_in_good_order
from flows.entrants import Entrant
from flows.findings import BenchmarkRun
from flows.reporting import Reporter, Titles, markdown_table
from flows.scores import Scores
from flows.serving import CancelWatch
from flows.steps import step
from infra.engine.open import open_engine
from infra.processes import lease_folder, name_run, quiet_teardown
from infra.settings import load_settings

TITLES = Titles("benchmark-progress", "Films", "benchmark-methods", "What each method did")

# Also where Prefect runs this flow in a process of its own.
quiet_teardown()

observers: list[Callable[[Scores], AbstractContextManager[object]]] = [
    partial(Reporter, titles=TITLES)
]
"""Each is entered with the scores while a benchmark runs; the command line adds a bar."""


@step(name="check")
def check(benchmark: Benchmark) -> None:
    """Make sure that methods, metrics and weights are there."""
    benchmark.check()


@step(name="cut")
def cut(benchmark: Benchmark) -> None:
    """Cut the clips, find the lights, and plan what every method is asked for."""
    with suppress(CalledOffError):
        benchmark.cut()


@step(name="look")
def look(benchmark: Benchmark) -> None:
    """Look at what the methods are given."""
    benchmark.look()


@step(name="judge", task_run_name="judge {method}")
def judge(benchmark: Benchmark, method: str) -> None:
    """Let one method make its films, and look at them."""
    benchmark.judge(method)


@step(name="report")
def report(benchmark: Benchmark) -> BenchmarkRun | None:
    """Write the record and the report; None where it is called off meanwhile."""
    try:
        run = benchmark.report()
    except CalledOffError:
        return None
    create_markdown_artifact(markdown(run), key="benchmark-report", description="What was found")
    return run


@flow(name="benchmark-methods", flow_run_name="benchmark {name}", persist_result=False)
def benchmark_methods(
    lake: str,
    protocol: Protocol,
    name: str = "",
    methods: Mapping[str, Entrant] | None = None,
    metrics: list[str] | None = None,
    retry: bool = False,
    before: str = "",
    replace: bool = False,
    gpus: float | None = None,
    backend: Literal["ray", "inline"] = "ray",
) -> Any:
    """Judge methods by a protocol; only what is missing is generated and looked at.

    Args:
        lake: Folder of the lake.
        protocol: On what; its source names a release or a folder.
        name: Of the benchmark; the protocol's without.
        methods: Which, by what they are to be called; the protocol's without.
        metrics: Which; the usual ones without.
        retry: Let methods try again where they failed before.
        before: File of a previous record that this one is held against.
        replace: Whether a record of this name by another protocol may be written over.
        gpus: That each worker asks of the cluster; without, one where there are any.
        backend: Ray actors, or this process.

    Returns:
        The `flows.findings.BenchmarkRun` as a dictionary of JSON types.
    """
    stop_in_good_order()
    with CancelWatch() as watch:

        def cancelled() -> bool:
            return interrupted.is_set() or watch.cancelled()

        benchmark = Benchmark(
            Lake.open(Path(lake), create=True),
            BenchmarkOrder(
                name=name or protocol.name,
                protocol=protocol,
                methods=methods or {},
                metrics=metrics or (),
                retry=retry,
                gpus=gpus_here() if gpus is None else gpus,
                before=read_record(Path(before)) if before else None,
                replace=replace,
            ),
            lambda: open_engine(backend, load_settings()),
            run=str(flow_run.id),
            cancelled=cancelled,
        )
        name_run(lease_folder(benchmark.lake.root), benchmark.run)
        try:
            with ExitStack() as stack:
                stack.enter_context(benchmark.hold())
                for observer in observers:
                    stack.enter_context(observer(benchmark.scores))
                run = _run(benchmark, cancelled)
        finally:
            benchmark.close()
        if run is None:
            return Cancelled(message="Cancelled; what was finished is kept. Run again to resume.")
    return run.to_json()


def _run(benchmark: Benchmark, cancelled: Callable[[], bool]) -> BenchmarkRun | None:
    for each in (check, cut, look):
        each(benchmark)
        if cancelled():
            return None
    for each in benchmark.contestants:
        judge(benchmark, each.name)
        if cancelled():
            return None
    run: BenchmarkRun | None = report(benchmark)
    return run


def markdown(run: BenchmarkRun) -> str:
    """The ending of a benchmark, in Markdown."""
    lines = [f"# {run.name}", "", f"The report is `{run.page}`.", "", *markdown_table(run.methods)]
    for title, told in (
        ("Not judged", [{"method": k, "why": v} for k, v in run.unavailable.items()]),
        ("Failed", [{"method": k, "why": v} for k, v in run.reasons.items()]),
        ("Clips left out", [{"clip": k, "why": v} for k, v in run.left_out.items()]),
        ("Not measured", [{"metric": k, "why": v} for k, v in run.unmeasured.items()]),
        ("Worse than before", [{"what": line} for line in run.worse]),
    ):
        if told:
            lines += ["", f"## {title}", "", *markdown_table(told)]
    return "\n".join([*lines, ""])


__all__ = ["benchmark_methods", "observers"]
