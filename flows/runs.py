"""The training runs of a lake, read from their folders alone."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from catalog.lake import Lake
from infra.errors import LimelightError, UsageError
from training.launch.follow import Follower
from training.launch.hold import held
from training.loop.folder import RunFolder
from training.loop.request import RunRequest, read_request

State = Literal["running", "finished", "preempted", "failed", "interrupted"]
"""Where a run stands: a command is at it; all steps are done; it was told to leave, and saved; it
stopped with an error; its driver was killed. All but the first go on where they are trained again
under the same name (a finished one if more steps are asked for)."""

LOSSES = ("loss", "full", "portrait")
"""What is minimised, and its two terms: of the whole pictures, and of the portraits in them."""

_SAID: dict[str, State] = {"finished": "finished", "preempted": "preempted", "stopped": "failed"}


@dataclass(frozen=True)
class TrainingRun:
    """What became of a training run so far; a benchmark takes its ``model``.

    Attributes:
        name: Of the run.
        state: Where it stands.
        reason: Why it failed; empty if it did not.
        release: Name of the release that it is trained on.
        version: Of the release.
        recipe: Name of the recipe.
        step: Steps done.
        steps: Steps that there are to be.
        first: Figures of the first step: loss and others.
        last: Figures of the last step.
        validation_first: Figures of the first validation, before any step.
        validation_last: Figures of the last one.
        folder: The run's folder.
        model: Folder of the finished model; empty while there is none.
    """

    name: str
    state: State
    reason: str
    release: str
    version: str
    recipe: str
    step: int
    steps: int
    first: dict[str, Any]
    last: dict[str, Any]
    validation_first: dict[str, Any]
    validation_last: dict[str, Any]
    folder: str
    model: str

    def losses(self) -> list[dict[str, object]]:
        """A table of the losses: of the first and the last step, and on held-out clips."""
        named = {
            "first step": self.first,
            "last step": self.last,
            "held out, at the start": self.validation_first,
            "held out, at the end": self.validation_last,
        }
        return [
            {"": name, "step": row["step"], **{each: row.get(each, "") for each in LOSSES}}
            for name, row in named.items()
            if row
        ]

    def row(self) -> dict[str, object]:
        """The run in a table of runs."""
        return {
            "run": self.name,
            "state": self.state,
            "step": f"{self.step:,} of {self.steps:,}",
            "loss": _fall(self.first, self.last),
            "held out": _fall(self.validation_first, self.validation_last),
            "release": self.release,
        }

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def run_folder(lake: Lake, name: str) -> RunFolder:
    """The folder of a run; it need not be there."""
    return RunFolder(lake.root / "runs" / name)


def run_names(lake: Lake) -> list[str]:
    """Names of all runs."""
    return sorted(path.parent.name for path in (lake.root / "runs").glob("*/run.json"))


def read_runs(lake: Lake) -> list[TrainingRun]:
    """All runs, by name; one whose files cannot be read is a failed one, which says so."""
    return [_read_or_tell(lake, name) for name in run_names(lake)]


def read_run(lake: Lake, name: str) -> TrainingRun:
    """One run.

    Raises:
        UsageError: There is none of that name.
    """
    folder = run_folder(lake, name)
    request = request_of(lake, name)
    state, reason, step = _state(folder)
    log = Follower(folder)
    last = log.last("step")
    return TrainingRun(
        name=name,
        state=state,
        reason=reason,
        release=request.release,
        version=request.version,
        recipe=request.recipe.name,
        step=max(step, last.get("step", 0)),
        steps=request.recipe.run.steps,
        first=log.first("step"),
        last=last,
        validation_first=log.first("validation"),
        validation_last=log.last("validation"),
        folder=str(folder.root),
        model=str(folder.model) if folder.model.is_dir() else "",
    )


def _read_or_tell(lake: Lake, name: str) -> TrainingRun:
    try:
        return read_run(lake, name)
    except (LimelightError, OSError) as error:
        return TrainingRun(
            name=name,
            state="failed",
            reason=str(error),
            release="",
            version="",
            recipe="",
            step=0,
            steps=0,
            first={},
            last={},
            validation_first={},
            validation_last={},
            folder=str(run_folder(lake, name).root),
            model="",
        )


def request_of(lake: Lake, name: str) -> RunRequest:
    """What was asked of a run.

    Raises:
        UsageError: There is no run of that name.
    """
    folder = run_folder(lake, name)
    if not folder.request.is_file():
        raise UsageError(
            f"there is no run {name!r} in {lake.root};"
            f" there is: {', '.join(run_names(lake)) or 'none'}",
            hint=f"begin it: limelight train RELEASE --name {name}",
        )
    return read_request(folder.request)


def _fall(first: dict[str, Any], last: dict[str, Any]) -> str:
    """A loss at the start and at the end."""
    return f"{first['loss']:.4g} -> {last['loss']:.4g}" if last else ""


def _state(folder: RunFolder) -> tuple[State, str, int]:
    """State, reason, and the step of the end that was written."""
    if held(folder):
        return "running", "", 0
    said = folder.ending()
    if said is None:
        return "interrupted", "", 0
    return _SAID[said["reason"]], said["message"], said["step"]
