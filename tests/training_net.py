"""A small network that the engine's tests train, its data, and the same steps by plain PyTorch."""

import contextlib
import io

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from training.checkpoint.fragments import QuantisedRun
from training.engine.engine import TrainingEngine
from training.recipe.tables import EngineTable, OptimizerTable, Recipe, RunTable

BATCH = 8
CLIP = 0.5
RATE = 1e-2


class Net(nn.Module):
    """12,891 parameters: an odd number, so partitions are padded, and cut blocks of 256."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.wide = nn.Linear(8, 300)
        self.narrow = nn.Linear(300, 33)
        self.last = nn.Linear(33, 1)
        self.recompute = False

    def checkpointing(self, on):
        self.recompute = on

    def middle(self, x):
        return torch.tanh(self.narrow(nn.functional.silu(self.wide(x))))

    def forward(self, x):
        x = self.first(x).mean((2, 3))
        x = checkpoint(self.middle, x, use_reentrant=False) if self.recompute else self.middle(x)
        return self.last(x)[:, 0]


def build_net():
    torch.manual_seed(0)
    return Net()


def samples(step):
    generator = torch.Generator().manual_seed(step)
    pictures = torch.randn(BATCH, 3, 6, 6, generator=generator)
    return [(picture, 3 * picture.mean()) for picture in pictures]


def mean_loss(network, part, dtype=torch.float32):
    pictures = torch.stack([picture for picture, _ in part]).to(dtype)
    wanted = torch.stack([value for _, value in part])
    return (network(pictures).float() - wanted).square().mean()


def plain_steps(steps):
    """Losses, gradient norms and weights of plain PyTorch with the whole batch at once."""
    net = build_net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    told = []
    for step in range(steps):
        loss = mean_loss(net, samples(step))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        told.append((loss.item(), norm.item()))
    return told, {name: p.detach().clone() for name, p in net.named_parameters()}


def recipe(zero, precision="fp32", micro=2, recompute=False, optimizer="adamw", ema=0.9):
    return Recipe(
        engine=EngineTable(
            zero=zero, precision=precision, micro_batch=micro, checkpointing=recompute
        ),
        optimizer=OptimizerTable(
            name=optimizer, rate=RATE, warmup=0, schedule="constant", clip_norm=CLIP, ema=ema
        ),
        run=RunTable(batch=BATCH, steps=100),
    )


def build(world, *args, fit=None, **kwargs):
    return TrainingEngine(build_net(), recipe(*args, **kwargs), world, fit=fit)


def take_steps(engine, steps, change=lambda step, loss: loss):
    """Steps from where the engine stands; facts of each."""
    facts = []
    for step in range(engine.step, engine.step + steps):
        mine = samples(step)[engine.world.rank :: engine.world.size]

        def objective(part, step=step):
            return change(step, mean_loss(engine, part, engine.dtype))

        facts.append(engine.train_step(mine, objective))
    return facts


def told(facts):
    return [(each.loss, each.grad_norm) for each in facts]


def apart(one, other):
    """The largest difference of lists of (loss, norm)."""
    return max(
        abs(a - b) for p, q in zip(one, other, strict=True) for a, b in zip(p, q, strict=True)
    )


def state(engine):
    """All that a rank holds, copied, by (parameter, start, what, part)."""
    kept = {}
    for fragment in engine.fragments():
        for what, tensor in fragment.tensors.items():
            key = (fragment.name, fragment.start, what)
            if isinstance(tensor, QuantisedRun):
                kept[*key, "codes"] = tensor.codes.clone()
                kept[*key, "absmax"] = tensor.absmax.clone()
            else:
                kept[*key, "numbers"] = tensor.clone()
    return kept


def same(one, other):
    """Whether two states are equal, bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


class Exhausted:
    """Runs out of memory once: in the n-th backward pass of a layer, before its gradient is had."""

    def __init__(self, engine, at):
        self.calls, self.at = 0, at
        engine.module.narrow.register_full_backward_hook(self)

    def __call__(self, *_):
        self.calls += 1
        if self.calls == self.at:
            raise torch.OutOfMemoryError("injected")


def quiet():
    return contextlib.redirect_stdout(io.StringIO())
