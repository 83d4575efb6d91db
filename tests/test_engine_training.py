"""The DeepSpeed engine with one rank, against plain PyTorch."""

import gc
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import EngineError, LakeError, UsageError
from tests import training_net as net
from training.checkpoint.records import RunState
from training.checkpoint.stored import StoredCheckpoint
from training.checkpoint.writer import CheckpointWriter
from training.engine.blocks import fill_blocks
from training.engine.config import deepspeed_config, share_of
from training.engine.ema import decay
from training.engine.flops import PEAKS, measured_flops, peak_flops, training_flops
from training.engine.ladder import (
    Circumstances,
    Fit,
    MemoryExhaustedError,
    Wish,
    load_wish,
    out_of_memory,
    save_wish,
)
from training.engine.optimizers import BLOCK, make_optimizer
from training.engine.schedule import rate
from training.engine.shards import Span
from training.recipe.tables import OptimizerTable, RunTable

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def world():
    """One rank without a launcher; the environment is as it was afterwards."""
    from training.engine.distributed import join, leave

    threads, environment = torch.get_num_threads(), dict(os.environ)
    torch.set_num_threads(1)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        os.environ.pop(name, None)
    rank = join("cpu")
    # DeepSpeed collects garbage at every turn: not that of all that was imported.
    gc.collect()
    gc.freeze()
    yield rank
    gc.unfreeze()
    leave()
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def plain():
    """Three steps of plain PyTorch, and the weights after them."""
    return net.plain_steps(3)


@pytest.fixture(scope="module")
def ranks_folder(tmp_path_factory):
    """Where two ranks of `tests.training_ranks` left their checkpoints and report."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = []
    for rank in ("0", "1"):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        ranks.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.training_ranks", str(folder)],
                cwd=ROOT,
                env={**os.environ, **place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        told = [rank.communicate(timeout=240)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(told)
    return folder


@pytest.fixture(scope="module")
def ranks_report(ranks_folder):
    """What they found."""
    return json.loads((ranks_folder / "report.json").read_text())


def save(engine, folder):
    """The engine's checkpoint, read back."""
    with CheckpointWriter(folder) as writer:
        run = RunState(position=engine.step * net.BATCH, scalars=engine.scalars())
        writer.save(engine.step, engine.fragments(), run, wait=True)
    return StoredCheckpoint(folder / f"step-{engine.step:08d}")


def values(engine):
    return {key[0]: each for key, each in net.state(engine).items() if key[2] == "value"}


@pytest.mark.parametrize("zero", range(4))
@pytest.mark.parametrize(("micro", "recompute"), [(8, False), (3, False), (1, True)])
def test_a_step_is_that_of_plain_pytorch(world, plain, zero, micro, recompute):
    engine = net.build(world, zero, fit=Fit(micro, recompute))
    facts = net.take_steps(engine, 3)
    assert net.apart(net.told(facts), plain[0]) < 1e-5
    assert facts[0].grad_norm < net.CLIP < facts[1].grad_norm
    for name, value in values(engine).items():
        torch.testing.assert_close(value, plain[1][name].flatten(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("zero", [1, 2, 3])
def test_in_bf16_the_masters_are_exact_and_the_stages_agree(world, plain, zero):
    engine = net.build(world, zero, "bf16")
    exact = {name: p.flatten() for name, p in net.build_net().named_parameters()}
    assert all(torch.equal(value, exact[name]) for name, value in values(engine).items())
    assert net.apart(net.told(net.take_steps(engine, 3)), plain[0]) < 2e-2


@pytest.mark.parametrize(
    ("zero", "precision"),
    [(0, "fp32"), (1, "fp32"), (2, "fp32"), (3, "fp32"), (1, "bf16"), (2, "bf16"), (3, "bf16")],
)
def test_a_step_that_ran_out_of_memory_half_way_is_repeated(world, zero, precision):
    wanted = net.told(net.take_steps(net.build(world, zero, precision, micro=2), 2))
    engine = net.build(world, zero, precision, micro=4)
    # Pass 2 of the first step, with the gradients of pass 1 and half of its own there.
    net.Exhausted(engine, at=2)
    facts = net.take_steps(engine, 2)
    assert net.told(facts) == wanted
    assert engine.fit == Fit(2, checkpointing=False)
    (said,) = facts[0].events
    assert "out of memory with micro-batch 4" in said
    assert "in 4 passes" in said
    assert not facts[1].events


@pytest.mark.parametrize("zero", [0, 3])
def test_below_one_sample_the_ladder_checkpoints_and_then_gives_up(world, zero):
    engine = net.build(world, zero, micro=1)
    net.Exhausted(engine, at=1)
    (facts,) = net.take_steps(engine, 1)
    assert facts.fit == Fit(1, checkpointing=True)
    assert engine.module.recompute
    net.Exhausted(engine, at=1)
    with pytest.raises(MemoryExhaustedError, match="nothing smaller is left") as caught:
        net.take_steps(engine, 1)
    assert caught.value.wish is None


def test_other_errors_of_a_pass_are_not_repeated(world):
    engine = net.build(world, 0)

    def broken(step, loss):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        net.take_steps(engine, 1, broken)


@pytest.mark.parametrize("zero", range(4))
@pytest.mark.parametrize(
    "spoil",
    [lambda loss: loss / 0, lambda loss: loss + (0 * loss).sqrt()],
    ids=["loss", "gradient"],
)
def test_a_step_that_is_not_finite_leaves_all_as_it_was(world, zero, spoil):
    engine, other = net.build(world, zero), net.build(world, zero)
    before = net.state(engine)
    (facts,) = net.take_steps(engine, 1, lambda step, loss: spoil(loss))
    assert facts.skipped
    assert net.same(before, net.state(engine))
    other.step = 1
    assert net.told(net.take_steps(engine, 2)) == net.told(net.take_steps(other, 2))
    assert (engine.step, engine.updates) == (3, 2)


def test_fp16_skips_an_overflow_and_keeps_its_scale(world, monkeypatch, tmp_path):
    from deepspeed.accelerator import get_accelerator

    from training.engine import engine as module

    # PyTorch computes fp16 on a processor, which DeepSpeed does not believe.
    monkeypatch.setattr(get_accelerator(), "is_fp16_supported", lambda: True)
    config = module.deepspeed_config
    monkeypatch.setattr(
        module, "deepspeed_config", lambda *a, **k: config(*a, **{**k, "accelerator": "cuda"})
    )
    engine = net.build(world, 2, "fp16")
    before = net.state(engine)
    scale = engine.scalars()["fp16_cur_scale"]
    # The loss is finite; its gradients, scaled by 65536, are not.
    facts = net.take_steps(engine, 2, lambda step, loss: loss * 1e4)
    assert [each.skipped for each in facts] == [True, True]
    assert net.same(before, net.state(engine))
    assert not any(each.skipped for each in net.take_steps(engine, 2))
    assert (engine.step, engine.updates) == (4, 2)
    assert engine.scalars()["fp16_cur_scale"] == scale / 2
    other = net.build(world, 2, "fp16")
    other.load(save(engine, tmp_path))
    assert other.scalars() == engine.scalars()
    assert net.told(net.take_steps(other, 2)) == net.told(net.take_steps(engine, 2))


@pytest.mark.parametrize("zero", range(4))
def test_the_average_moves_once_an_update_and_is_given_back_bit_by_bit(world, zero):
    engine = net.build(world, zero, ema=0.25)
    mean = {name: p.detach().flatten() for name, p in net.build_net().named_parameters()}
    for updates in range(3):
        net.take_steps(engine, 1)
        share = 1 - decay(updates, 0.25)
        now = values(engine)
        mean = {name: each + share * (now[name] - each) for name, each in mean.items()}
    kept = {key[0]: each for key, each in net.state(engine).items() if key[2] == "ema"}
    for name, each in mean.items():
        torch.testing.assert_close(kept[name], each, rtol=1e-6, atol=1e-7)
    before, wanted = net.state(engine), net.build_net()
    wanted.load_state_dict({n: kept[n].view(p.shape) for n, p in wanted.named_parameters()})
    pictures = torch.stack([picture for picture, _ in net.samples(9)])
    with torch.no_grad(), engine.averaged():
        torch.testing.assert_close(engine(pictures), wanted(pictures), rtol=1e-5, atol=1e-6)
        with pytest.raises(RuntimeError, match="exchanged"):
            engine.fragments()
    assert net.same(before, net.state(engine))


@pytest.mark.parametrize("optimizer", ["adamw", "adamw8bit"])
@pytest.mark.parametrize(("saved", "loaded"), [(0, 0), (3, 3), (2, 3), (3, 0), (0, 1)])
def test_a_checkpoint_goes_on_at_any_stage(world, tmp_path, optimizer, saved, loaded):
    engine = net.build(world, saved, optimizer=optimizer)
    net.take_steps(engine, 2)
    other = net.build(world, loaded, optimizer=optimizer)
    net.take_steps(other, 1)
    other.load(save(engine, tmp_path))
    assert (other.step, other.updates) == (2, 2)
    if saved == loaded:
        assert net.same(net.state(engine), net.state(other))
    wanted, found = net.told(net.take_steps(engine, 2)), net.told(net.take_steps(other, 2))
    # 8-bit states lose as much as their steps are coarse where blocks are cut anew.
    assert net.apart(found, wanted) < (1e-5 if optimizer == "adamw" else 1e-2)
    if saved == loaded:
        assert found == wanted


def lcvd_step(world, zero, recompute):
    """One step of the tiny LCVD, of the same weights and pictures each time."""
    from training.engine.engine import TrainingEngine
    from training.model.lcvd import Lcvd
    from training.recipe import load_recipe

    tiny = load_recipe("lcvd-tiny")
    torch.manual_seed(0)
    lcvd = Lcvd.build(tiny.model)
    table = tiny.engine.model_copy(update={"zero": zero, "checkpointing": recompute})
    one = tiny.model_copy(update={"engine": table, "run": RunTable(batch=1)})
    engine = TrainingEngine(lcvd, one, world)
    latents = torch.randn(1, 2, lcvd.unet.config.in_channels, 4, 4)
    pictures = {stream: torch.rand(1, 2, 3, 32, 32) for stream in tiny.model.adapters}
    token, ids = torch.randn(1, 1, tiny.model.token_width), torch.rand(1, 3)

    def objective(part):
        noise = torch.full((1,), 0.3)
        return engine(latents, noise, token, ids, pictures=pictures).square().mean()

    return engine.train_step([0], objective)


def test_lcvd_takes_the_same_step_at_stage_3_with_checkpointing(world):
    plain = lcvd_step(world, 0, recompute=False)
    found = lcvd_step(world, 3, recompute=True)
    assert net.apart(net.told([found]), net.told([plain])) < 1e-5


def test_a_checkpoint_of_another_network_is_refused(world, tmp_path):
    engine = net.build(world, 0)
    stored = save(engine, tmp_path)
    other = net.build_net()
    other.last = torch.nn.Linear(33, 2)
    from training.engine.engine import TrainingEngine

    with pytest.raises(LakeError, match=r"last\.weight is \(1, 33\)"):
        TrainingEngine(other, net.recipe(0), world).load(stored)


class Numbers:
    """A checkpoint of one parameter, saved as plain numbers."""

    def __init__(self, values):
        self.values = values

    def read(self, name, what, start, length):
        return self.values[start : start + length]

    def read_quantised(self, name, what, start, length):
        return None


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), first=st.integers(1, 700), gap=st.integers(0, 300))
def test_numbers_become_the_nearest_codes_of_their_blocks(seed, first, gap):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(1000, generator=generator) * torch.logspace(-6, 2, 1000)
    code_map = torch.cat([-torch.logspace(0, -3, 127), torch.zeros(1), torch.logspace(-3, 0, 128)])
    # Two spans, padding between them and after.
    spans = [Span("w", (1000,), 0, first, 0), Span("w", (1000,), first, 1000 - first, first + gap)]
    padded = torch.cat([values[:first], torch.zeros(gap), values[first:], torch.zeros(9)])
    codes = torch.empty(len(padded), dtype=torch.uint8)
    absmax = torch.empty(-(-len(padded) // BLOCK))
    fill_blocks(codes, absmax, code_map, spans, Numbers(values), "exp_avg")
    for block, scale in enumerate(absmax):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        assert scale == padded[part].abs().max()
        found = code_map[codes[part].long()] * scale
        best = (padded[part, None] - code_map * scale).abs().amin(1)
        torch.testing.assert_close((found - padded[part]).abs(), best, rtol=1e-4, atol=1e-6)


def test_ranks_of_half_an_environment_are_refused(world, monkeypatch):
    from training.engine.distributed import join

    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(EngineError, match="WORLD_SIZE"):
        join("cpu")


def test_fp16_needs_a_gpu():
    with pytest.raises(UsageError, match="fp16"):
        deepspeed_config(net.recipe(2, "fp16"), ranks=1, accelerator="cpu", parameters=10)


@pytest.mark.parametrize("zero", range(4))
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_configuration_says_stage_precision_and_clipping(zero, precision):
    config = deepspeed_config(
        net.recipe(zero, precision), ranks=4, accelerator="cuda", parameters=13
    )
    stage = config["zero_optimization"]["stage"]
    assert stage == (1 if zero == 0 and precision != "fp32" else zero)
    assert config.get(precision, {"enabled": True}) == {"enabled": True}
    assert config["gradient_clipping"] == (net.CLIP if stage else 0)
    assert config["zero_optimization"]["allgather_bucket_size"] == 14
    assert config["zero_optimization"]["overlap_comm"] == (stage >= 2)
    assert ("data_types" in config) == (precision != "fp32")


def test_a_batch_is_shared_evenly_or_refused():
    assert share_of(net.recipe(0), 4) == 2
    with pytest.raises(UsageError, match="cannot be shared evenly among 3 ranks"):
        share_of(net.recipe(0), 3)


@settings(deadline=None)
@given(
    warmup=st.integers(0, 50),
    length=st.integers(2, 500),
    schedule=st.sampled_from(["constant", "cosine"]),
)
def test_the_rate_rises_and_then_falls_to_its_end(warmup, length, schedule):
    table = OptimizerTable(rate=2.0, warmup=warmup, schedule=schedule)
    steps = RunTable(steps=warmup + length).steps
    rates = [rate(step, table, steps) for step in range(steps)]
    rising, then = rates[:warmup], rates[warmup:]
    assert rising == [pytest.approx(2.0 * (step + 1) / warmup) for step in range(warmup)]
    assert then == sorted(then, reverse=True)
    assert then[0] == pytest.approx(2.0)
    assert then[-1] == pytest.approx(2.0 if schedule == "constant" else 0.2)


@given(st.integers(0, 10_000), st.floats(0, 0.9999))
def test_the_average_forgets_faster_at_the_start(updates, most):
    assert decay(updates, most) == min(most, (1 + updates) / (10 + updates))
    assert decay(updates, most) <= decay(updates + 1, most)


@given(st.integers(1, 64), st.booleans())
def test_every_rung_keeps_the_share_and_the_ladder_ends(micro, recompute):
    fit, share = Fit(micro, recompute), 64
    rungs = [fit]
    while (lower := rungs[-1].lower()) is not None:
        assert lower.micro_batch * lower.passes(share) >= share
        assert lower.micro_batch < rungs[-1].micro_batch or lower.checkpointing
        rungs.append(lower)
    assert rungs[-1] == Fit(1, checkpointing=True)


def test_a_wish_is_kept_for_the_next_start(tmp_path):
    assert load_wish(tmp_path / "fit.json") is None
    wish = Wish(Fit(3, checkpointing=True), Circumstances("cpu", 1, {"zero": 2}))
    save_wish(tmp_path / "fit.json", wish)
    assert load_wish(tmp_path / "fit.json") == wish
    (tmp_path / "fit.json").write_text('{"micro_batch": 3, "checkpoin')
    assert load_wish(tmp_path / "fit.json") is None


def test_memory_that_ran_out_is_told_from_other_errors():
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not out_of_memory(RuntimeError("Expected all tensors to be on the same device"))
    assert not out_of_memory(ValueError("out of memory"))


def test_bitsandbytes_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(UsageError, match="needs bitsandbytes"):
        make_optimizer(
            net.build_net().parameters(), OptimizerTable(name="adamw8bit"), torch.device("cpu")
        )


def test_arithmetic_is_counted_without_recomputation():
    net_ = net.build_net().to("meta")
    pictures = torch.rand(5, 3, 6, 6, device="meta")
    found = training_flops(lambda: net_(pictures))
    # Forward, and twice that backward, but for what no gradient is asked of: the pictures.
    convolution = 2 * 5 * 36 * 3 * 9 * 8
    dense = 2 * 5 * (8 * 300 + 300 * 33 + 33)
    assert found == 2 * convolution + 3 * dense


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
    ],
)
def test_a_gpu_is_known_by_the_longest_name(monkeypatch, name, known):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda", 0), torch.bfloat16) == PEAKS[known]


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA A10G",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
    ],
)
def test_a_gpu_whose_name_only_begins_like_a_known_one_is_measured(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    monkeypatch.setattr("training.engine.flops.measured_flops", lambda device, dtype: 70e12)
    assert peak_flops(torch.device("cuda", 0), torch.bfloat16) == 70e12


def test_a_processor_is_measured():
    assert measured_flops(torch.device("cpu"), torch.float32, seconds=0.01) > 1e8


def test_two_ranks_agree_with_one(world, plain, ranks_report):
    for name in ("steps 0", "steps 1", "steps 2", "steps 3", "recompute"):
        assert net.apart(ranks_report[name], plain[0]) < 1e-5, name


def test_two_ranks_resume_byte_by_byte(ranks_report):
    runs = {name: each for name, each in ranks_report.items() if name.startswith("resume")}
    assert len(runs) == 9
    for name, run in runs.items():
        assert run["bytes"], name
        assert run["first"] == run["again"], name


@pytest.mark.parametrize("kind", ["2-fp32-adamw", "3-fp32-adamw", "3-fp32-adamw8bit"])
def test_what_two_ranks_saved_one_goes_on_with(world, ranks_folder, ranks_report, kind):
    _, _, optimizer = kind.split("-")
    engine = net.build(world, 1, optimizer=optimizer)
    engine.load(StoredCheckpoint(ranks_folder / kind / "step-00000002"))
    found = net.told(net.take_steps(engine, 2))
    bound = 1e-5 if optimizer == "adamw" else 1e-2
    assert net.apart(found, ranks_report[f"resume {kind}"]["first"]) < bound


def test_one_rank_out_of_memory_makes_both_repeat_the_step(plain, ranks_report):
    for zero in (0, 1):
        found = ranks_report[f"fits {zero}"]
        assert found["fit"]
        assert net.apart(found["told"], plain[0][:2]) < 1e-5
        assert len(found["said"]) == 1


def test_with_zero_2_the_ranks_end_with_a_wish(ranks_report):
    assert ranks_report["wishes"]


@pytest.mark.parametrize("zero", [0, 3])
def test_a_loss_of_one_rank_that_is_not_finite_skips_the_step_of_all(ranks_report, zero):
    found = ranks_report[f"skipped {zero}"]
    assert (found["kept"], found["first"], found["second"]) == (True, True, False)
    assert found["updates"] == 1


def test_two_ranks_validate_with_the_average(world, ranks_report):
    engine = net.build(world, 0)
    net.take_steps(engine, 3)
    pictures = torch.stack([picture for picture, _ in net.samples(99)])
    with torch.no_grad(), engine.averaged():
        wanted = engine(pictures)
    for zero in (0, 3):
        found = ranks_report[f"averaged {zero}"]
        assert found["kept"]
        torch.testing.assert_close(torch.tensor(found["within"]), wanted, rtol=0, atol=1e-5)


def test_ranks_that_hold_the_same_write_half_each(ranks_report):
    shares = ranks_report["shares"]
    assert shares["whole"] == 12_891
    assert shares["own"] in (6445, 6446)
