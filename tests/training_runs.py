"""Whole training runs: a warm process that runs their ranks in forks, or ends them.

``python -m tests.training_runs`` reads jobs from its standard input, a line of JSON each:
``folder`` of the run, ``ranks``, ``fault`` (see `infra.faults`), and ``term``, the step from which
it is told to leave. It answers each with its ranks' exit codes. It forks after all is imported.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import deepspeed  # noqa: F401 - to be there in every fork
import torch

import training.loop.trainer  # noqa: F401
from infra.faults import VARIABLE
from training import run
from training.loop.folder import RunFolder, read_log

LIMIT = 120.0


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
        }
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
