"""A training run, step by step, without Prefect: what the flow's tasks do, and tests call directly.

The run's folder is all that is kept: a run that was interrupted anywhere goes on when it is
trained again under its name.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from catalog.lake import Lake
from catalog.members import check_name
from catalog.release import Release
from flows.course import Course
from flows.latents import fill, require_cacheable
from flows.runs import TrainingRun, read_run, run_folder
from infra.errors import EngineError, LakeError, LimelightError, UsageError
from infra.weights import prepare
from training.checkpoint.folder import MANIFEST, step_folder, steps
from training.checkpoint.records import Manifest, parse
from training.engine.config import share_of
from training.launch.job import Ending, Job, Launcher
from training.launch.launchers import find_launcher
from training.launch.watch import Patience, launch
from training.loop.request import LATENTS, RunRequest, begin_run, check_resume, read_request
from training.model.weights import weights_of
from training.recipe import Recipe

FAULTS = 3
"""So many faults in a row, with no checkpoint between them, are no accident."""

_PACKAGES = ("torch", "diffusers", "deepspeed", "safetensors", "tensorboard")


class TrainingError(LimelightError):
    """The run stopped by itself, and would again: its ranks said why."""


class RanksLostError(Exception):
    """The ranks died, or hung; the run goes on from its last checkpoint."""


class CalledOffError(Exception):
    """The run was cancelled while its pictures were being encoded."""


@dataclass(frozen=True)
class Order:
    """What somebody asks for.

    Attributes:
        release: Name of the release to train on.
        recipe: How.
        name: Of the run; the same name goes on with the same run.
        version: Of the release; the current one, or that which the run began with, if empty.
        launcher: Name of the launcher.
        ranks: How many; 0 means one for each GPU, or a single one where there is none.
        cache: Whether to encode all pictures beforehand.
    """

    release: str
    recipe: Recipe
    name: str
    version: str = ""
    launcher: str = "torchrun"
    ranks: int = 0
    cache: bool = False

    @property
    def needs(self) -> list[str]:
        """Packages that the ranks import."""
        model, optimizer = self.recipe.model, self.recipe.optimizer
        return [
            *_PACKAGES,
            *(["transformers"] if model.token == "clip" else []),
            *(["bitsandbytes"] if optimizer.name == "adamw8bit" else []),
            *(["ray", "pandas"] if self.launcher == "ray" else []),
        ]


class Training:
    """One training run of a lake.

    Args:
        lake: Where everything is kept.
        order: What is asked for.
        cancelled: True once somebody wants the run to stop.
        patience: How long ranks may be silent; by default as the recipe's readers need.

    Raises:
        UsageError: The release, or what is asked of it, is not there; a package is missing; the
            run began otherwise.
        WeightsError: Weights are missing or wrong.
    """

    def __init__(
        self,
        lake: Lake,
        order: Order,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        patience: Patience | None = None,
    ) -> None:
        check_name(order.name)
        self.lake = lake
        self.order = order
        self.folder = run_folder(lake, order.name)
        self.launcher: Launcher = find_launcher(order.launcher)
        self._cancelled = cancelled
        self._patience = patience or Patience(beat=Patience.beat + order.recipe.data.wait_seconds)
        self._faults = 0
        self.course = Course(self.folder, order.recipe.run.steps)
        began = read_request(self.folder.request) if self.folder.request.is_file() else None
        version = order.version or (began.version if began else None)
        self.release = Release.open(lake, order.release, version)
        self.request = RunRequest.of(lake, self.release, order.recipe)
        if began:
            check_resume(began, self.request)
        require_packages(order.needs)
        prepare(list(weights_of(order.recipe.model, start=True)))
        if order.cache:
            require_cacheable(order.recipe)
            self._refuse_a_late_cache()
        if order.ranks:
            share_of(order.recipe, order.ranks)

    def _refuse_a_late_cache(self) -> None:
        """Encode nothing for a run that would not look at it.

        Raises:
            UsageError: The run began without the latent cache, and keeps to that.
        """
        for step in reversed(steps(self.folder.checkpoints)):
            path = step_folder(self.folder.checkpoints, step) / MANIFEST
            with suppress(LakeError, OSError):
                if parse(Manifest, path, path.read_bytes()).state.scalars.get(LATENTS):
                    return
                raise UsageError(
                    f"the run {self.order.name} began without the latent cache, and keeps to that:"
                    " cached latents are rounded, and would change its course half way",
                    hint="go on without --cache, or train with it under another --name",
                )

    @property
    def finished(self) -> bool:
        """Whether all steps are done, so that there is nothing to train."""
        said = self.folder.ending()
        wanted = self.order.recipe.run.steps
        return said is not None and said["reason"] == "finished" and said["step"] >= wanted

    def run(self) -> TrainingRun:
        """What became of the run so far."""
        return read_run(self.lake, self.order.name)

    def encode(self) -> None:
        """Encode what is missing of the latent cache; the ranks use it where it is whole.

        Raises:
            CalledOffError: The run was cancelled meanwhile; what is encoded is kept.
            LimelightError: See `flows.latents.fill`.
        """
        stretch = self.course.work("encoding pictures")

        def progress(done: int, total: int) -> None:
            stretch.finished, stretch.total = done, total
            if self._cancelled():
                raise CalledOffError

        fill(self.lake, self.release, self.order.recipe, progress)

    def train(self) -> Ending:
        """Start the ranks, and wait until they have finished, or left because they were told to.

        Raises:
            TrainingError: They stopped with an error that would come again, and said so.
            RanksLostError: They died or hung; training again goes on from the last checkpoint.
            EngineError: That happened several times in a row, and nothing was saved between.
        """
        if self._cancelled():
            return Ending("preempted", 0)
        begin_run(self.folder, self.request)
        job = self._job()
        self.course.train()
        before = steps(self.folder.checkpoints)
        ending = self._launch(job)
        if ending.reason in ("finished", "preempted"):
            return ending
        if ending.reason == "stopped":
            message, _, hint = ending.message.partition("\n  -> ")
            raise TrainingError(message, hint=hint or f"what the ranks printed is in {job.desk}")
        saved = steps(self.folder.checkpoints)[-1:] > before[-1:]
        self._faults = 1 if saved else self._faults + 1
        words = f"{ending.message}\n{ending.log}".rstrip()
        if self._faults < FAULTS:
            raise RanksLostError(words)
        raise EngineError(
            f"the ranks were lost {FAULTS} times in a row without getting further: {words}",
            hint="SIGKILL mostly means that the machine's memory was used up; all that the ranks "
            f"printed is in {job.desk}; the same command goes on from the last checkpoint",
        )

    def _launch(self, job: Job) -> Ending:
        """Launch until memory suffices: ranks that want less of it next time leave a word."""
        while True:
            fit = _content(self.folder.fit)
            ending = launch(self.launcher, job, cancelled=self._cancelled, patience=self._patience)
            if ending.reason != "crashed" or _content(self.folder.fit) == fit:
                return ending

    def _job(self) -> Job:
        """The ranks to start.

        Raises:
            UsageError: There are fewer GPUs than ranks, or the batch cannot be shared.
        """
        gpus = self.launcher.gpus()
        ranks = self.order.ranks or gpus or 1
        if gpus and ranks > gpus:
            raise UsageError(f"{ranks} ranks are asked for, but there are {gpus} GPUs")
        share_of(self.order.recipe, ranks)
        return Job(self.folder, ranks, gpus=1 if gpus else 0)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def require_packages(needs: Iterable[str]) -> None:
    """Refuse to begin what the packages of the extra `train` are missing for.

    Args:
        needs: Modules that will be imported.

    Raises:
        UsageError: Some are not installed.
    """
    missing = [name for name in needs if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"this needs {', '.join(missing)}, not installed here",
            hint="pip install 'limelight[train]' -c constraints.txt",
        )
