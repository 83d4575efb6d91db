"""Rank programs for the tests of the launchers: what a rank may do, without any training.

``python -m tests.rank_programs FOLDER``; what each rank does is in ``FOLDER/deeds.json``: a list,
one a start of the run, of words by rank.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from training.loop.folder import RunFolder


def main() -> None:
    folder = RunFolder(sys.argv[1])
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    deeds = json.loads((folder.root / "deeds.json").read_text())
    tries = folder.root / f"starts-{rank}"
    with tries.open("a") as file:
        file.write(f"{os.getpid()} of {ranks}\n")
    start = len(tries.read_text().splitlines()) - 1
    deed = deeds[min(start, len(deeds) - 1)][rank]
    signal.signal(signal.SIGTERM, lambda *_: leave(folder, rank))
    if rank == 0:
        folder.begin()
    print(f"rank {rank} of {ranks}: {deed}", flush=True)
    globals()[deed](folder, rank)


def finish(folder: RunFolder, rank: int) -> None:
    if rank == 0:
        folder.end("finished", 7)


def leave(folder: RunFolder, rank: int) -> None:
    if rank == 0:
        folder.end("preempted", 3)
    os._exit(0)


def stop(folder: RunFolder, rank: int) -> None:
    folder.end("stopped", 4, message="the loss is not a number")
    raise SystemExit(1)


def die(folder: RunFolder, rank: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(folder: RunFolder, rank: int) -> None:
    raise RuntimeError("I was told to")


def hang(folder: RunFolder, rank: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    work(folder, rank)


def work(folder: RunFolder, rank: int) -> None:
    while True:
        time.sleep(0.1)


def meet(folder: RunFolder, rank: int) -> None:
    """Find all other ranks, by the torch way, and finish."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    total = torch.ones(1)
    dist.all_reduce(total)
    Path(folder.root / f"met-{rank}").write_text(f"{int(total)}")
    dist.destroy_process_group()
    finish(folder, rank)


if __name__ == "__main__":
    main()
