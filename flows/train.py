"""The Prefect flow ``train_model``: from a release and a recipe to a model, and its benchmark."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import CancelledRun
from prefect.runtime import flow_run
from prefect.states import Cancelled
from prefect.tasks import Task

from catalog.lake import Lake
from evaluation.protocols.counting import count_clips
from evaluation.protocols.tables import Protocol
from flows.benchmark import benchmark_methods
from flows.build import interrupted, stop_in_good_order
from flows.course import Course
from flows.entrants import of_model
from flows.reporting import Reporter, Titles, markdown_table
from flows.runs import TrainingRun
from flows.serving import CancelWatch
from flows.status import TRAINING
from flows.trainer import CalledOffError, Order, RanksLostError, Training
from infra.processes import lease_folder, name_run, quiet_teardown
from training.checkpoint.folder import steps
from training.launch.hold import hold
from training.launch.job import Ending
from training.recipe import Recipe

RETRIES = 1000
"""Of the ranks; `flows.trainer.FAULTS` in a row without getting further end them earlier."""

TITLES = Titles("training-progress", "Steps taken", "training-figures", "First and last figures")

# Also where Prefect runs this flow in a process of its own.
quiet_teardown()

observers: list[Callable[[Course], AbstractContextManager[object]]] = [
    partial(Reporter, titles=TITLES)
]
"""Each is entered with the course while a run is under way; the command line adds a display."""


def _lost(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry what a person need not act on: ranks that died or hung, nothing else."""
    return isinstance(state.result(raise_on_failure=False), RanksLostError)


_step: Any = partial(task, cache_policy=NO_CACHE, persist_result=False)


@_step(name="check")
def check(lake: Path, order: Order, cancelled: Callable[[], bool]) -> Training:
    """Make sure that release, packages and weights are there."""
    return Training(Lake.open(lake), order, cancelled=cancelled)


@_step(name="encode")
def encode(training: Training) -> None:
    """Encode all pictures beforehand."""
    training.encode()


@_step(
    name="train",
    task_run_name="train with {launcher}",
    retries=RETRIES,
    retry_delay_seconds=5,
    retry_condition_fn=_lost,
)
def train(training: Training, launcher: str) -> Ending:
    """Start the ranks and wait for them; when they were lost, go on from the last checkpoint."""
    return training.train()


@_step(name="publish")
def publish(training: Training) -> TrainingRun:
    """Leave the report of what became of the run."""
    run = training.run()
    create_markdown_artifact(markdown(run), key="training-report", description="The run's end")
    return run


@flow(name="train-model", flow_run_name="train {name}", persist_result=False)
def train_model(
    lake: str,
    release: str,
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    name: str = "",
    launcher: Literal["torchrun", "ray"] = "torchrun",
    ranks: int = 0,
    cache: bool = False,
    version: str = "",
    benchmark: Protocol | None = None,
) -> Any:
    """Train a model on a release; a run that was interrupted goes on.

    Args:
        lake: Folder of the lake.
        release: Name of the release.
        recipe: How to train.
        name: Of the run; the same name goes on with the same run. Without, it is called after
            release and recipe.
        launcher: torchrun on this machine, or Ray Train on the cluster of the settings.
        ranks: How many; 0 means one for each GPU, or a single one where there is none.
        cache: Encode all pictures beforehand.
        version: Of the release; without, the current one, or that which the run began with.
        benchmark: Protocol that the finished model is judged by, on clips of the same release
            where it names none; without, it is not judged.

    Returns:
        The `flows.runs.TrainingRun` as a dictionary of JSON types; its ``model`` is the folder
        that a benchmark takes. Beside it ``benchmark``: the `flows.findings.BenchmarkRun`, or None.
    """
    stop_in_good_order()
    if benchmark is not None:
        benchmark = on_release(benchmark, Lake.open(Path(lake)), release, version)
    order = Order(
        release=release,
        recipe=recipe,
        name=name or default_name(release, recipe),
        version=version,
        launcher=launcher,
        ranks=ranks,
        cache=cache,
    )
    root = Path(lake).absolute()
    name_run(lease_folder(root), str(flow_run.id), TRAINING)
    with CancelWatch() as watch:

        def cancelled() -> bool:
            return interrupted.is_set() or watch.cancelled()

        training = check(root, order, cancelled)
        ending: Ending | None = None
        with ExitStack() as stack:
            stack.enter_context(hold(training.folder))
            for observer in observers:
                stack.enter_context(observer(training.course))
            try:
                if cache:
                    encode(training)
                ending = None if training.finished else train(training, launcher)
            except CalledOffError:
                return Cancelled(message="Cancelled while encoding; what is done is kept.")
        run = publish(training)
        if ending and ending.reason == "preempted":
            saved = max(steps(training.folder.checkpoints), default=0)
            return Cancelled(message=f"Left; the same run goes on after step {saved}")
    try:
        return {**run.to_json(), "benchmark": judge(lake, run, benchmark)}
    except CancelledRun:
        return Cancelled(message="The model is finished; its benchmark was cancelled.")


def on_release(protocol: Protocol, lake: Lake, release: str, version: str) -> Protocol:
    """A protocol that is judged on the clips of a release where it names none.

    Raises:
        UsageError: It has no clip, or does not judge `lcvd`: better told before the training.
    """
    if not (protocol.source.release or protocol.source.folder):
        source = protocol.source.model_copy(update={"release": release, "version": version})
        protocol = protocol.model_copy(update={"source": source})
    count_clips(protocol, lake)
    of_model(protocol, "")
    return protocol


def judge(lake: str, run: TrainingRun, protocol: Protocol | None) -> Any:
    """Hand a finished model over to the benchmark flow, which runs as a part of this one."""
    if protocol is None or not run.model:
        return None
    methods = of_model(protocol, run.model)
    return benchmark_methods(
        lake=lake, protocol=protocol, name=run.name, methods=methods, replace=True
    )


def default_name(release: str, recipe: Recipe) -> str:
    """What a run is called that nobody gave a name."""
    return f"{release}-{recipe.name}"


def markdown(run: TrainingRun) -> str:
    """The report of a run, in Markdown."""
    lines = [f"# {run.name}", "", f"{run.state}: step {run.step:,} of {run.steps:,}."]
    lines += ["", f"Release {run.release} {run.version}, recipe {run.recipe}.", ""]
    lines += markdown_table(run.losses()) if run.last else ["No step was taken."]
    lines += ["", f"Model: `{run.model}`" if run.model else "There is no model yet.", ""]
    return "\n".join(lines)


__all__ = ["default_name", "observers", "train_model"]
