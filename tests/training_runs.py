"""Whole training runs: a warm process that runs their ranks in forks, or ends them.

``python -m tests.training_runs SHELF`` reads jobs from its standard input, a line of JSON each:
``folder`` of the run, ``ranks``, ``fault`` (see `infra.faults`), ``stay``, a point of a save at
which the thread that writes stays for good, and ``term``, the step from which it is told to leave.
It answers each with its ranks' exit codes; the run's file ``struck`` tells that the fault struck.
It forks after all is imported; what every start would measure anew is kept in the folder ``SHELF``.
"""

import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from functools import wraps
from pathlib import Path

import torch
import torch._dynamo  # an optimizer's first step imports it: not in every fork
import torch.utils.tensorboard.writer
from deepspeed.runtime.engine import DeepSpeedEngine

from infra import faults
from infra.digests import digest_bytes
from infra.faults import VARIABLE, fault_point
from infra.storage import write_atomic
from training import run
from training.checkpoint import commit, tensorfile, writer
from training.engine import distributed
from training.engine.ema import Average
from training.loop import speed, trainer
from training.loop.folder import RunFolder, read_log
from training.loop.objective import Objective
from training.loop.validation import Validator

LIMIT = 120.0
STATIONS = {
    "draws": (Objective, "training_draws"),
    "total": (Objective, "total"),  # of a forward pass, before the backward pass
    "backward": (DeepSpeedEngine, "backward"),
    "update": (DeepSpeedEngine, "step"),
    "average": (Average, "update"),
    "tell": (trainer.Trainer, "_tell"),
    "copy": (writer, "pack"),
    "judge": (Validator, "_losses"),  # with the averaged weights in the module
    "preview": (trainer, "write_preview"),
    "model": (trainer, "write_model"),
}
"""Where a run can be hit beside the fault points of its own: before and after these calls."""


def hittable(name, call):
    """The call, with a fault point before and after it."""

    @wraps(call)
    def hit(*args, **kwargs):
        fault_point(f"test.{name}.before")
        result = call(*args, **kwargs)
        fault_point(f"test.{name}.after")
        return result

    return hit


def kept(shelf, call):
    """The call, made once for all forks that make it with the same arguments."""

    @wraps(call)
    def keep(*args):
        note = shelf / digest_bytes(repr((call.__name__, args)).encode())
        if not note.exists():
            write_atomic(note, json.dumps(call(*args)).encode(), point="test.shelf")
        return json.loads(note.read_bytes())

    return keep


def prepare(shelf):
    """Do once what every fork would do, and make the trainer hittable."""
    distributed._tame_deepspeed()
    for name in ("sample_flops", "peak_flops"):
        setattr(speed, name, kept(shelf, getattr(speed, name)))
    for name, (owner, call) in STATIONS.items():
        setattr(owner, call, hittable(name, getattr(owner, call)))


def stay(point):
    """Let the thread that writes a save stay at a point for good; the fault waits for that."""
    there, strike = threading.Event(), faults._strike_once

    def pass_or_stay(name):
        if name == point:
            there.set()
            threading.Event().wait()
        fault_point(name)

    for module in (commit, tensorfile):
        module.fault_point = pass_or_stay
    faults._strike_once = lambda: there.wait(LIMIT) and strike()


def fork(job, rank, port):
    """Run a rank in a fork; its process id."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(job["ranks"]),
            "LOCAL_WORLD_SIZE": str(job["ranks"]),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            VARIABLE: job["fault"],
            f"{VARIABLE}_ONCE": f"{job['folder']}/struck",
        }
        if job["stay"]:
            stay(job["stay"])
        sys.argv = ["training.run", job["folder"]]
        code = run.main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def attend(job, pids):
    """Exit codes of the ranks; when one fails the others are killed, as a launcher does it."""
    log, codes, until = RunFolder(job["folder"]).log, {}, time.monotonic() + LIMIT
    term = job["term"]
    while len(codes) < len(pids):
        for pid in set(pids) - set(codes):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
        late = time.monotonic() > until
        if late or set(codes.values()) - {0, 75}:
            for pid in set(pids) - set(codes):
                os.kill(pid, signal.SIGKILL)
        if term is not None and any(row["step"] >= term for row in read_log(log)):
            term = None
            os.kill(pids[-1], signal.SIGTERM)
        time.sleep(0.005)
    return [codes[pid] for pid in pids]


def serve():
    torch.set_num_threads(1)
    prepare(Path(sys.argv[1]))
    gc.freeze()
    for line in sys.stdin:
        job = json.loads(line)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (Path(job["folder"]) / "said").open("ab") as said:
            kept = [os.dup(stream) for stream in (1, 2)]
            for stream in (1, 2):
                os.dup2(said.fileno(), stream)
            pids = [fork(job, rank, port) for rank in range(job["ranks"])]
            for stream, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, stream)
                os.close(copy)
        print(json.dumps(attend(job, pids)), flush=True)


if __name__ == "__main__":
    serve()
    os._exit(0)  # without taking everything down again
