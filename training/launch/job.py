"""The words of the launchers: what is started, how, and how it ended."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from training.loop.folder import RunFolder

Reason = Literal["finished", "preempted", "stopped", "crashed", "hung"]
"""Why a run's ranks are gone. They said so themselves: all steps done; told to leave, after a
checkpoint; an error that would come again. Or they did not: they died, also of an error that may
pass, or gave no sign of life."""

RANK_PROGRAM = "training.run"
"""Module of the rank program; its one argument is the run's folder."""


@dataclass(frozen=True)
class Job:
    """Ranks to be started on a run.

    Attributes:
        folder: The run's; its request lies there already.
        ranks: How many.
        gpus: GPUs of each, 0 or 1.
        program: Module of the rank program.
    """

    folder: RunFolder
    ranks: int = 1
    gpus: int = 0
    program: str = RANK_PROGRAM

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise ValueError(f"{self.ranks} ranks: at least one is needed")

    @property
    def desk(self) -> Path:
        """Folder of what launcher and ranks tell each other, and of what the ranks print."""
        return self.folder.root / "launch"

    @property
    def stop(self) -> Path:
        """Once this file is there, every rank gets a SIGTERM, on whatever machine it is."""
        return self.desk / "stop"

    @property
    def scratch(self) -> Path:
        """Folder for what a launcher itself has to write somewhere; it goes with its process."""
        return self.desk / "scratch"

    def log(self, rank: int) -> Path:
        """What a rank prints."""
        return self.desk / f"rank-{rank}.log"

    @property
    def host_log(self) -> Path:
        """What the launcher's own process prints."""
        return self.desk / "host.log"

    @property
    def rank_arguments(self) -> list[str]:
        """Arguments of `training.launch.rank`, by which every rank is started."""
        return [str(self.desk), self.program, str(self.folder.root)]


class Launcher(Protocol):
    """A way to start ranks."""

    @property
    def name(self) -> str:
        """What it is called by those who choose."""

    def gpus(self) -> int:
        """GPUs that it can give to ranks."""

    def command(self, job: Job) -> list[str]:
        """Module and arguments of the process that starts the ranks and ends with them."""

    def environment(self, job: Job) -> dict[str, str]:
        """What that process needs in its environment, beside our own."""


@dataclass(frozen=True)
class Ending:
    """How the ranks of a run ended.

    Attributes:
        reason: Why.
        step: Steps that were done, as far as is known.
        message: What went wrong, in words; empty if nothing did.
        log: The last lines that the rank to blame printed.
    """

    reason: Reason
    step: int
    message: str = ""
    log: str = ""
