"""A miniature training run that saves, and a warm process that runs it in forks and kills.

``python -m tests.checkpoint_crash`` reads jobs from its standard input, a line of JSON each, and
answers each with its ranks' exit codes. It forks after everything is imported and starts no
thread itself: so a run begins within milliseconds.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch._dynamo  # an optimizer's first step imports it: not in every fork
from safetensors.torch import save_file
from torch import nn

from infra.faults import VARIABLE, fault_point
from training.checkpoint.folder import attempt_token
from training.checkpoint.fragments import Fragment
from training.checkpoint.opening import open_latest
from training.checkpoint.randomness import capture_random, seed_random
from training.checkpoint.records import RunState
from training.checkpoint.writer import CheckpointWriter

STEPS, SAVE_EVERY, BATCH = 7, 2, 4
MOMENTS = ("exp_avg", "exp_avg_sq")


class Run:
    """One rank's network (every rank has one of its own), optimizer and moving average."""

    def __init__(self, rank):
        seed_random(5, rank, 0)
        self.rank = rank
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=0.05)
        for parameter in self.net.parameters():
            state = self.optimizer.state[parameter]
            state["step"] = torch.zeros(())
            state.update({moment: torch.zeros_like(parameter) for moment in MOMENTS})
        self.ema = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        self.step = self.position = 0

    def tensors(self):
        """All that is kept, by parameter: flat views of what training changes in place."""
        return {
            name: {
                "value": parameter.detach().view(-1),
                "ema": self.ema[name].view(-1),
                **{m: self.optimizer.state[parameter][m].view(-1) for m in MOMENTS},
            }
            for name, parameter in self.net.named_parameters()
        }

    def train(self):
        """One step on samples that are a function of their positions."""
        loss = torch.zeros(())
        for position in range(self.position, self.position + BATCH):
            sample = torch.randn(6, generator=torch.Generator().manual_seed(position))
            loss = loss + (self.net(sample).square().mean() / BATCH)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        for name, parameter in self.net.named_parameters():
            self.ema[name].lerp_(parameter.detach(), 0.1)
        self.step, self.position = self.step + 1, self.position + BATCH
        return loss.item()

    def fragments(self):
        """Every parameter in two fragments."""
        for name, tensors in self.tensors().items():
            shape = tuple(self.net.get_parameter(name).shape)
            length = len(tensors["value"])
            for start, stop in ((0, length // 3), (length // 3, length)):
                cut = {what: tensor[start:stop] for what, tensor in tensors.items()}
                yield Fragment(f"{self.rank}.{name}", shape, start, cut)

    def resume(self, checkpoint, ranks):
        """Take everything back."""
        for name, tensors in self.tensors().items():
            for what, tensor in tensors.items():
                tensor.copy_(checkpoint.read(f"{self.rank}.{name}", what, 0, len(tensor)))
        self.step, self.position = checkpoint.step, checkpoint.scalars["position"]
        for state in self.optimizer.state.values():
            state["step"].fill_(checkpoint.scalars["updates"])
        checkpoint.restore_random(self.rank, ranks)

    def result(self):
        """Everything that two runs are compared by, but for the losses."""
        kept = {f"{n}/{w}": t for n, ts in self.tensors().items() for w, t in ts.items()}
        return kept | {f"random/{name}": state for name, state in capture_random().items()}


def main(folder, rank, ranks, token):
    """Train from the newest checkpoint to the last step; leave losses and result in a folder."""
    run, checkpoints = Run(rank), folder / "checkpoints"
    options = {"rank": rank, "ranks": ranks, "token": token, "keep": 2, "limit": 20.0}
    with CheckpointWriter(checkpoints, **options) as writer:
        if checkpoint := open_latest(checkpoints):
            run.resume(checkpoint, ranks)
        while run.step < STEPS:
            step, loss = run.step, run.train()
            with (folder / "losses").open("a") as losses:
                losses.write(json.dumps([rank, step, loss.hex()]) + "\n")
            last = run.step == STEPS
            if last or run.step % SAVE_EVERY == 0:
                scalars = {"updates": run.step}
                state = RunState(position=run.position, seed=5, scalars=scalars)
                writer.save(run.step, run.fragments(), state, wait=last)
            fault_point("test.step")
    save_file(run.result(), folder / f"result-{rank}.safetensors")


def fork(folder, rank, ranks, token, fault):
    """Train in a fork; its process id, and the attempt's token, which rank 0 makes."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        with os.fdopen(told) as pipe:
            return pid, pipe.read()
    code = 1
    try:
        os.environ[VARIABLE] = fault
        token = token or attempt_token()
        with os.fdopen(tell, "w") as pipe:
            pipe.write(token)
        main(folder, rank, ranks, token)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def attend(pids):
    """Exit codes of the ranks; when one fails the others are killed, as a launcher does it."""
    codes = {}
    while len(codes) < len(pids):
        pid, status = os.wait()
        codes[pid] = os.waitstatus_to_exitcode(status)
        if codes[pid]:
            for other in set(pids) - set(codes):
                os.kill(other, signal.SIGKILL)
    return [codes[pid] for pid in pids]


def serve():
    torch.set_num_threads(1)
    for line in sys.stdin:
        job = json.loads(line)
        folder = Path(job["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        pids, token = [], ""
        for rank, fault in enumerate(job["faults"]):
            pid, token = fork(folder, rank, len(job["faults"]), token, fault)
            pids.append(pid)
        print(json.dumps(attend(pids)), flush=True)


if __name__ == "__main__":
    serve()
    os._exit(0)  # without taking everything down again
