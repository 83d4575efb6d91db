"""Ranks on a Ray cluster: every worker of Ray Train hosts one rank, in a process of its own.

As an actor of the engine hosts its worker (`infra.engine.actors`), so a worker of Ray Train hosts
its rank. The rank program is the very one that torchrun starts: it has signals and a main thread of
its own, and takes what it holds of a GPU with it when it ends. Ray finds the places, and tells
the ranks who they are and where rank 0 listens.
"""

import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from subprocess import Popen
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import TorchConfig, TorchTrainer

from infra.engine.base import Resources
from infra.engine.cluster import Cluster
from infra.errors import LimelightError
from infra.settings import load_settings
from training.launch.host import HOST
from training.loop.folder import RunFolder

_LOOK = 0.2


class _HostConfig(TorchConfig):
    """Hosts only agree on where rank 0 listens: they touch no GPU."""

    @property
    def train_func_context(self) -> Any:
        return nullcontext


def fit(ranks: int, gpus: int, scratch: str, arguments: Sequence[str]) -> None:
    """Start the ranks on the cluster of the settings, and wait until they have ended.

    Args:
        ranks: How many.
        gpus: GPUs of each.
        scratch: Folder for what Ray Train writes of itself.
        arguments: Of `training.launch.rank`; the folders among them are those of a disk that
            the machines of the cluster share.

    Raises:
        EngineError: There is no such cluster, or no place in it for so many.
        ray.train.TrainingFailedError: A rank ended with an error, or its machine was lost.
    """
    with closing(Cluster(load_settings())) as cluster:
        cluster.capacity(Resources(num_cpus=1, num_gpus=gpus), wanted=ranks)
        TorchTrainer(
            host_rank,
            train_loop_config={"arguments": list(arguments), "path": os.environ["PYTHONPATH"]},
            torch_config=_HostConfig(backend="gloo"),
            scaling_config=ScalingConfig(
                num_workers=ranks,
                use_gpu=bool(gpus),
                resources_per_worker={"CPU": 1, **({"GPU": gpus} if gpus else {})},
            ),
            run_config=RunConfig(
                name="ray",
                storage_path=scratch,
                # Starting again, from which checkpoint and how often, is our own affair.
                failure_config=FailureConfig(max_failures=0),
            ),
        ).fit()


def host_rank(config: dict[str, Any]) -> None:
    """Run one rank below this worker of Ray Train, and end as it ends.

    Args:
        config: ``arguments`` of `training.launch.rank`, and the ``path`` to import from.

    Raises:
        RuntimeError: The rank ended with an error.
    """
    context = ray.train.get_context()
    rank = context.get_world_rank()
    # The port that Ray chose is taken by the hosts' own group.
    port = broadcast_from_rank_zero(_free_port() if rank == 0 else None)
    told = {
        "RANK": rank,
        "WORLD_SIZE": context.get_world_size(),
        "LOCAL_RANK": context.get_local_rank(),
        "LOCAL_WORLD_SIZE": context.get_local_world_size(),
        "MASTER_ADDR": os.environ["MASTER_ADDR"],
        "MASTER_PORT": port,
        HOST: os.getpid(),
    }
    process = Popen(
        [sys.executable, "-P", "-m", "training.launch.rank", *config["arguments"]],
        env={
            **os.environ,
            "PYTHONPATH": config["path"],
            **{name: str(value) for name, value in told.items()},
        },
    )
    try:
        while process.poll() is None:
            time.sleep(_LOOK)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise RuntimeError(f"rank {rank} ended with {process.returncode}")


def _free_port() -> int:
    with socket.socket() as candidate:
        candidate.bind(("", 0))
        port: int = candidate.getsockname()[1]
        return port


def main() -> None:
    """Become the process of the Ray launcher."""
    # By its full name, so that Ray's workers import this module instead of a copy of it.
    from training.launch import on_ray

    ranks, gpus, scratch, *arguments = sys.argv[1:]
    try:
        on_ray.fit(int(ranks), int(gpus), scratch, arguments)
    except LimelightError as error:
        # No rank was there to say it, and it would come again.
        RunFolder(arguments[-1]).end("stopped", 0, message=str(error))
        raise


if __name__ == "__main__":
    main()
