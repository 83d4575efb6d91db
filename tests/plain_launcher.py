"""A launcher without torch: ranks of this machine, all of which end when one ends badly.

``python -m tests.plain_launcher RANKS ARGUMENT...`` (under `training.launch.host`) starts them.
"""

import os
import sys
import time
from dataclasses import dataclass
from subprocess import Popen

from training.launch.job import Job


@dataclass(frozen=True)
class Plain:
    """Stands for torchrun where seconds of importing torch would prove nothing."""

    name: str = "plain"

    def gpus(self) -> int:
        return 0

    def command(self, job: Job) -> list[str]:
        return ["tests.plain_launcher", str(job.ranks), *job.rank_arguments]

    def environment(self, job: Job) -> dict[str, str]:
        return {}


def main() -> None:
    ranks, *arguments = sys.argv[1:]
    processes = [
        Popen(
            [sys.executable, "-m", "training.launch.rank", *arguments],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": ranks},
        )
        for rank in range(int(ranks))
    ]
    while any(process.poll() is None for process in processes):
        if any(process.poll() for process in processes):
            for process in processes:
                process.kill()
        time.sleep(0.05)
    sys.exit(max(process.wait() != 0 for process in processes))


if __name__ == "__main__":
    main()
