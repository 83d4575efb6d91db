"""The launchers there are: torchrun on this machine, and Ray Train on a cluster."""

from contextlib import closing
from dataclasses import dataclass

from infra.engine.base import Resources
from infra.engine.ledger import amounts
from infra.errors import UsageError
from infra.settings import load_settings
from training.launch.job import Job, Launcher

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Torchrun:
    """Ranks on this machine, started by ``torch.distributed.run``."""

    name: str = "torchrun"

    def gpus(self) -> int:
        """GPUs of this machine."""
        import torch

        return torch.cuda.device_count()

    def command(self, job: Job) -> list[str]:
        """The ranks meet at a free port of this machine's own address."""
        return [
            "torch.distributed.run",
            *("--nnodes", "1", "--nproc-per-node", str(job.ranks)),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{_LOOPBACK}:0"),
            *("--local-addr", _LOOPBACK),
            *("--rdzv-id", job.folder.root.name, "--log-dir", str(job.scratch)),
            # A rank that dies ends all of them: starting again is our own affair.
            *("--max-restarts", "0", "--monitor-interval", "0.2"),
            *("--signals-to-handle", "SIGHUP"),
            *("-m", "training.launch.rank", *job.rank_arguments),
        ]

    def environment(self, job: Job) -> dict[str, str]:
        """Nothing: cores are shared among the ranks by the recipe, not by torchrun."""
        return {}


@dataclass(frozen=True)
class OnRay:
    """Ranks on a Ray cluster, started by Ray Train's ``TorchTrainer``.

    The cluster is that of the settings (`infra.engine.cluster`): the one that built the release,
    or one of our own on this machine for as long as the run takes.
    """

    name: str = "ray"

    def gpus(self) -> int:
        """GPUs of the cluster."""
        settings = load_settings()
        if not settings.ray_address:
            return Torchrun().gpus()
        from infra.engine.cluster import Cluster

        with closing(Cluster(settings)) as cluster:
            return cluster.total().get("GPU", 0) // amounts(Resources(num_gpus=1))["GPU"]

    def command(self, job: Job) -> list[str]:
        """Where the ranks are, Ray decides."""
        asked = (str(job.ranks), str(job.gpus), str(job.scratch))
        return ["training.launch.on_ray", *asked, *job.rank_arguments]

    def environment(self, job: Job) -> dict[str, str]:
        """Ray Train as this code knows it; and no word home."""
        return {
            "RAY_TRAIN_V2_ENABLED": "1",
            # Ranks hear of their machine's end themselves, by SIGTERM.
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }


LAUNCHERS: dict[str, Launcher] = {"torchrun": Torchrun(), "ray": OnRay()}
"""By name."""


def find_launcher(name: str) -> Launcher:
    """The launcher of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in LAUNCHERS:
        raise UsageError(f"no launcher is called {name!r}; allowed are {' and '.join(LAUNCHERS)}")
    return LAUNCHERS[name]
