"""What two ranks find of the engine; `test_engine_ranks` starts them and reads rank 0's report."""

import gc
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tests import training_net as net
from training.checkpoint.records import RunState
from training.checkpoint.stored import StoredCheckpoint
from training.checkpoint.writer import CheckpointWriter
from training.engine.distributed import join, leave
from training.engine.ladder import Fit, MemoryExhaustedError
from training.engine.views import fragments_of

KINDS = (
    [(zero, "fp32", "adamw") for zero in range(4)]
    + [(1, "bf16", "adamw"), (3, "bf16", "adamw")]
    + [(zero, "fp32", "adamw8bit") for zero in (0, 2, 3)]
)


def every(world, value):
    """Whether all ranks found it so."""
    votes = torch.tensor(float(value))
    dist.all_reduce(votes)
    return int(votes) == world.size


def resumed(world, folder, kind):
    """Save after two steps, go on; load, go on: losses of both, and whether all bytes are equal."""
    path = folder / "-".join(map(str, kind))
    zero, precision, optimizer = kind
    engine = net.build(world, zero, precision, optimizer=optimizer)
    net.take_steps(engine, 2)
    saved = net.state(engine)
    with CheckpointWriter(path, rank=world.rank, ranks=world.size, token="t.1") as writer:
        scalars = engine.scalars()
        run = RunState(position=2 * net.BATCH, zero=zero, scalars=scalars)
        writer.save(2, engine.fragments(), run, wait=True)
    dist.barrier()
    first = net.told(net.take_steps(engine, 2))
    # Other weights, and other states, that the checkpoint must replace.
    other = net.build(world, zero, precision, optimizer=optimizer)
    net.take_steps(other, 1)
    other.load(StoredCheckpoint(path / "step-00000002"))
    loaded = net.state(other)
    again = net.told(net.take_steps(other, 2))
    equal = net.same(saved, loaded) and net.same(net.state(engine), net.state(other))
    return {"first": first, "again": again, "bytes": every(world, equal)}


def fits(world, zero):
    """Rank 1 runs out of memory in its second pass: both repeat the step."""
    engine = net.build(world, zero)
    if world.rank == 1:
        net.Exhausted(engine, at=2)
    facts = net.take_steps(engine, 2)
    return {"told": net.told(facts), "fit": engine.fit == Fit(1, False), "said": facts[0].events}


def wishes(world):
    """ZeRO 2: every rank runs out of memory, and ends with what to start again with."""
    engine = net.build(world, 2)
    net.Exhausted(engine, at=1)
    try:
        net.take_steps(engine, 1)
    except MemoryExhaustedError as error:
        return every(world, error.wish == Fit(1, False))
    return every(world, False)


def skipped(world, zero):
    """One rank's loss is not finite: no rank takes the step."""
    engine = net.build(world, zero)
    before = net.state(engine)

    def spoil(step, loss):
        return loss * float("nan") if step == 0 and world.rank == 1 else loss

    first = net.take_steps(engine, 1, spoil)[0]
    kept = every(world, net.same(before, net.state(engine)))
    second = net.take_steps(engine, 1)[0]
    return {
        "kept": kept,
        "first": first.skipped,
        "second": second.skipped,
        "updates": engine.updates,
        "norm": second.grad_norm,
    }


def averaged(world, zero):
    """What the module says within `averaged`, and whether its weights come back."""
    engine = net.build(world, zero)
    net.take_steps(engine, 3)
    before = net.state(engine)
    pictures = torch.stack([picture for picture, _ in net.samples(99)])
    with torch.no_grad():
        one = engine(pictures)
        with engine.averaged():
            within = engine(pictures)
        other = engine(pictures)
    kept = net.same(before, net.state(engine)) and torch.equal(one, other)
    return {"within": within.tolist(), "kept": every(world, kept)}


def even_shares(world):
    """At stage 0 each rank writes its half of what both hold."""
    engine = net.build(world, 0)
    own = sum(fragment.length for fragment in engine.fragments())
    whole = fragments_of(engine._shards, (), engine._optimizer)
    return {"own": own, "whole": sum(fragment.length for fragment in whole)}


def main(folder):
    torch.set_num_threads(1)
    world = join("cpu")
    gc.freeze()
    report = {"world": world.size}
    for zero in range(4):
        report[f"steps {zero}"] = net.told(net.take_steps(net.build(world, zero), 3))
    report["recompute"] = net.told(net.take_steps(net.build(world, 3, recompute=True), 3))
    for kind in KINDS:
        report["resume " + "-".join(map(str, kind))] = resumed(world, folder, kind)
    for zero in (0, 1):
        report[f"fits {zero}"] = fits(world, zero)
    for zero in (0, 3):
        report[f"skipped {zero}"] = skipped(world, zero)
        report[f"averaged {zero}"] = averaged(world, zero)
    report["shares"] = even_shares(world)
    report["wishes"] = wishes(world)
    if world.first:
        (folder / "report.json").write_text(json.dumps(report))
    leave()


if __name__ == "__main__":
    with net.quiet():
        main(Path(sys.argv[1]))
