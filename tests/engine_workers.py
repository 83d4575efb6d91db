"""Workers for the engine's tests: tame ones, and one for each way to go wrong."""

import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from infra.engine.base import Note
from infra.errors import LakeError, UsageError, WeightsError


def segfault(_: str) -> None:
    ctypes.string_at(0)


def leave(_: str) -> None:
    os._exit(3)


def hang(_: str) -> None:
    time.sleep(600)


def leak(_: str) -> None:
    hoard = []
    while True:
        hoard.append(bytearray(16 << 20))


def complain(word: str) -> None:
    raise ValueError(f"cannot stand {word}")


def fill_disk(_: str) -> None:
    raise LakeError("the lake is full", hint="free some space")


def load_another_net(_: str) -> None:
    raise WeightsError("the weight u2net is another net's", hint="limelight weights pull u2net")


def want_a_gpu(_: str) -> None:
    raise UsageError("there is no GPU here", hint="ask for one")


def chatter(_: str) -> None:
    sys.stderr.write("x" * 3_000_000 + "\n")


POISONS: dict[str, Callable[[str], None]] = {
    f.__name__: f
    for f in (
        *(segfault, leave, hang, leak, complain, chatter),
        *(fill_disk, load_another_net, want_a_gpu),
    )
}


class Echo:
    """Returns its payload, after ``seconds``; does what a payload named for a poison says."""

    def __init__(self, seconds: float = 0.0, journal: str = "") -> None:
        self.seconds = seconds
        self.journal = Path(journal) if journal else None

    def run(self, payload: str, note: Note) -> str:
        note(f"tasting {payload}")
        word = payload.partition(":")[0]
        if self.journal:
            with self.journal.open("a") as file:
                file.write(f"{payload} {os.getpid()} {time.monotonic()}\n")
        if word in POISONS:
            print(f"about to {word}", file=sys.stderr, flush=True)
            POISONS[word](word)
        time.sleep(self.seconds)
        return payload.upper()

    def close(self) -> None:
        if self.journal:
            with self.journal.open("a") as file:
                file.write(f"close {os.getpid()} {time.monotonic()}\n")


class FailsOnce(Echo):
    """Dies at an item the first time, as a file tells."""

    def run(self, payload: str, note: Note) -> str:
        assert self.journal
        marker = self.journal.with_name(payload.replace(":", "-"))
        if payload.startswith("once") and not marker.exists():
            marker.touch()
            os._exit(9)
        return super().run(payload, note)


class Threads:
    """Returns how many threads OpenCV and OpenMP would use."""

    def run(self, payload: str, note: Note) -> list[object]:
        import cv2

        return [cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"]]

    def close(self) -> None:
        pass


def weightless() -> Echo:
    raise WeightsError("weight 'u2net' is missing", hint="limelight weights pull u2net")


def unimportable() -> Echo:
    raise ImportError("no module named 'nothing_of_the_sort'")


def stillborn() -> Echo:
    os._exit(7)
