"""Rank programs for the tests of the launchers: what ranks may do, mostly without any training.

``python -m tests.rank_programs FOLDER``; what each rank does is in ``FOLDER/deeds.json``: a list,
one a start of the run, of words by rank. Each start is noted in ``FOLDER/starts-RANK``.
"""

import json
import os
import signal
import sys
import time

from training.loop.folder import RunFolder

NAME = "tests.rank_programs"


def instruct(folder: RunFolder, *starts: list[str]) -> None:
    """Say what the ranks are to do at each start; the last one counts for all that follow."""
    folder.root.mkdir(parents=True, exist_ok=True)
    (folder.root / "deeds.json").write_text(json.dumps(starts))


def starts(folder: RunFolder, rank: int = 0) -> list[int]:
    """Process ids of a rank, one a start."""
    path = folder.root / f"starts-{rank}"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    folder, rank = RunFolder(sys.argv[1]), int(os.environ["RANK"])
    signal.signal(signal.SIGTERM, lambda *_: leave(folder, rank))  # before it is seen to have begun
    with (folder.root / f"starts-{rank}").open("a") as file:
        file.write(f"{os.getpid()}\n")
    deeds = json.loads((folder.root / "deeds.json").read_text())
    deed = deeds[min(len(starts(folder, rank)), len(deeds)) - 1][rank]
    if rank == 0:
        folder.begin()
    while not folder.heartbeat.exists():
        time.sleep(0.01)
    print(f"rank {rank}: {deed}", flush=True)
    globals()[deed](folder, rank)


def finish(folder: RunFolder, rank: int) -> None:
    if rank == 0:
        folder.end("finished", 7)


def leave(folder: RunFolder, rank: int) -> None:
    (folder.root / f"left-{rank}").touch()
    if rank == 0:
        folder.end("preempted", 3)
    os._exit(0)


def stop(folder: RunFolder, rank: int) -> None:
    folder.end("stopped", 4, message="the loss is not finite\n  -> look at these clips")
    sys.exit(7)


def die(folder: RunFolder, rank: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def save_and_die(folder: RunFolder, rank: int) -> None:
    (folder.checkpoints / f"step-{len(starts(folder, rank)):08d}").mkdir(parents=True)
    die(folder, rank)


def want_less(folder: RunFolder, rank: int) -> None:
    folder.fit.write_text('{"micro_batch": 1, "checkpointing": true}\n')
    sys.exit(6)


def fail(folder: RunFolder, rank: int) -> None:
    raise RuntimeError("I was told to")


def falter(folder: RunFolder, rank: int) -> None:
    """End as `training.run` does of an error that may pass: without a word in the folder."""
    print("Error: a process that reads training samples died", file=sys.stderr)
    sys.exit(5)


def hang(folder: RunFolder, rank: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    work(folder, rank)


def wait(folder: RunFolder, rank: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    work(folder, rank)


def work(folder: RunFolder, rank: int) -> None:
    while True:
        time.sleep(0.05)


def train(folder: RunFolder, rank: int) -> None:
    """Be a rank of a real run after all."""
    from training import run

    sys.exit(run.main())


if __name__ == "__main__":
    main()
