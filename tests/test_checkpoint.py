"""Checkpoints: whatever cut of the parameters was written, any other can be read; or nothing."""

import math
import os
import random
import signal
import tempfile
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import faults
from infra.errors import LakeError, UsageError
from training.checkpoint import commit
from training.checkpoint import writer as writer_module
from training.checkpoint.folder import attempt_token, steps
from training.checkpoint.fragments import Fragment, QuantisedRun, share
from training.checkpoint.merge import full_state, load_parameters
from training.checkpoint.opening import open_checkpoint, open_latest
from training.checkpoint.randomness import seed_random
from training.checkpoint.records import RunState
from training.checkpoint.signals import StopRequest
from training.checkpoint.stored import StoredCheckpoint
from training.checkpoint.writer import CheckpointWriter

STATE = RunState(position=12, epoch=1, seed=7, scalars={"updates": 3, "scale": 0.1})


def bits(generator, length):
    """Floats of any bits, infinities and NaNs of all kinds among them."""
    return torch.from_numpy(generator.integers(0, 2**32, length, np.uint32).view(np.float32))


def quantised(generator, bounds):
    """A run of 8-bit codes with these blocks."""
    return QuantisedRun(
        torch.from_numpy(generator.integers(0, 256, bounds[-1], np.uint8)),
        torch.from_numpy(generator.random(len(bounds) - 1, np.float32)),
        torch.tensor(bounds),
        torch.linspace(-1, 1, 256),
    )


def whole(name, shape, **tensors):
    return Fragment(name, shape, 0, tensors)


def save_all(folder, parts, *, step=1, state=STATE, **options):
    """Save what each rank has."""
    options = {"ranks": len(parts), "token": attempt_token(), "limit": 30.0, **options}
    writers = [CheckpointWriter(folder, rank=rank, **options) for rank in range(len(parts))]
    for writer, fragments in zip(writers, parts, strict=True):
        writer.save(step, fragments, state)
    for writer in writers:
        writer.close()


@pytest.fixture
def fault(monkeypatch):
    """Puts a fault at a point."""

    def put(text):
        monkeypatch.setattr(faults, "_passes", Counter())
        monkeypatch.setenv(faults.VARIABLE, text)

    return put


# Any cut.


@st.composite
def cut_parameters(draw):
    """(Parameters' lengths, for each rank its fragments as (parameter, start, stop))."""
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    ranks = draw(st.integers(1, 3))
    total = sum(lengths)
    cuts = sorted({0, total, *draw(st.lists(st.integers(1, total), max_size=6))})
    parts = [[] for _ in range(ranks)]
    offset = 0
    for number, length in enumerate(lengths):
        edges = sorted({0, length, *(c - offset for c in cuts if 0 < c - offset < length)})
        for start, stop in pairwise(edges):
            parts[draw(st.integers(0, ranks - 1))].append((number, start, stop))
        offset += length
    return lengths, parts


def spans(data, length):
    start = data.draw(st.integers(0, length - 1))
    return start, data.draw(st.integers(start + 1, length))


@settings(max_examples=20, deadline=None)
@given(cut_parameters(), st.data(), st.integers(0, 99))
def test_any_cut_over_any_ranks_reads_back_through_any_other(cut, data, seed):
    lengths, parts = cut
    generator = np.random.default_rng(seed)
    kept = [{what: bits(generator, n) for what in ("value", "ema")} for n in lengths]
    fragments = [
        [
            Fragment(f"p{n}", (lengths[n],), a, {w: t[a:b] for w, t in kept[n].items()})
            for n, a, b in part
        ]
        for part in parts
    ]
    with tempfile.TemporaryDirectory() as folder:
        save_all(Path(folder), fragments)
        checkpoint = open_checkpoint(Path(folder))
        assert checkpoint.names("ema") == tuple(sorted(f"p{n}" for n in range(len(lengths))))
        for number, length in enumerate(lengths):
            start, stop = spans(data, length)
            for what, tensor in kept[number].items():
                read = checkpoint.read(f"p{number}", what, start, stop - start)
                assert read.numpy().tobytes() == tensor[start:stop].numpy().tobytes()


@st.composite
def grids(draw, length):
    """Bounds of blocks."""
    return sorted({0, length, *draw(st.lists(st.integers(1, length), max_size=5))})


@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(2, 60), st.integers(1, 3), st.integers(0, 99))
def test_8_bit_states_come_back_raw_on_their_blocks_and_as_numbers_anywhere(
    data, length, ranks, seed
):
    bounds = data.draw(grids(length))
    run = quantised(np.random.default_rng(seed), bounds)
    held = [whole("p", (length,), exp_avg=run)]
    with tempfile.TemporaryDirectory() as folder:
        save_all(Path(folder), [list(share(held, rank, ranks)) for rank in range(ranks)])
        checkpoint = open_checkpoint(Path(folder))
        start, stop = spans(data, length)
        numbers = checkpoint.read("p", "exp_avg", start, stop - start)
        assert torch.equal(numbers, run.dequantise()[start:stop])
        raw = checkpoint.read_quantised("p", "exp_avg", start, stop - start)
        assert torch.equal(raw.codes, run.codes[start:stop])
        assert torch.equal(raw.dequantise(), numbers)
        again = checkpoint.read_quantised("p", "exp_avg", 0, length).regrid(run.bounds)
        assert torch.equal(again.absmax, run.absmax)
        assert torch.equal(again.bounds, run.bounds)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(2, 40), st.integers(0, 99))
def test_another_grid_of_blocks_has_the_same_numbers_or_is_refused(data, length, seed):
    run = quantised(np.random.default_rng(seed), data.draw(grids(length)))
    wanted = data.draw(grids(length))
    regridded = run.regrid(torch.tensor(wanted))
    # A block wanted may not reach over a bound: on both sides the scales differ.
    crossed = set(run.bounds.tolist()) - set(wanted)
    assert (regridded is None) == bool(crossed)
    if regridded is not None:
        assert torch.equal(regridded.dequantise(), run.dequantise())
        assert regridded.bounds.tolist() == wanted


def test_what_was_saved_in_floats_is_not_given_as_codes(tmp_path):
    run = quantised(np.random.default_rng(0), [0, 8])
    fragments = [whole("p", (8,), exp_avg=run), whole("q", (8,), exp_avg=run.dequantise())]
    save_all(tmp_path, [fragments])
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.read_quantised("q", "exp_avg", 2, 3) is None
    assert checkpoint.read_quantised("p", "exp_avg", 2, 3) is not None


@pytest.mark.parametrize(
    ("parts", "fault"),
    [([(0, 4), (5, 10)], "elements 4 to 5 .* nobody"), ([(0, 6), (4, 10)], "4 to 6 .* two ranks")],
)
def test_elements_that_are_missing_or_there_twice_are_refused(tmp_path, parts, fault):
    fragments = [Fragment("p", (10,), a, {"value": torch.zeros(b - a)}) for a, b in parts]
    with pytest.raises(LakeError, match=fault):
        save_all(tmp_path, [fragments])
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_the_run_comes_back(tmp_path):
    save_all(tmp_path, [[whole("p", (2, 3), value=torch.zeros(6))]], step=40)
    checkpoint = open_checkpoint(tmp_path / "step-00000040")
    expected = {"step": 40, "epoch": 1, "position": 12, "updates": 3, "scale": 0.1}
    assert checkpoint.scalars == expected
    assert (checkpoint.manifest.state, checkpoint.shape("p")) == (STATE, (2, 3))
    with pytest.raises(LakeError, match="nothing of q as value"):
        checkpoint.read("q", "value", 0, 1)


# Damage.


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """Checkpoints of the steps 1 and 2, by two ranks."""
    folder = tmp_path_factory.mktemp("two")
    held = [whole("p", (64,), value=torch.arange(64.0))]
    for step in (1, 2):
        save_all(folder, [list(share(held, rank, 2)) for rank in range(2)], step=step)
    return folder


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_or_a_lost_end_is_named_and_the_one_before_is_taken(two_steps, data):
    path = data.draw(st.sampled_from(sorted((two_steps / "step-00000002").iterdir())))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    damaged = content[:place]
    if data.draw(st.booleans()):
        flipped = content[place] ^ (1 << data.draw(st.integers(0, 7)))
        damaged += bytes([flipped]) + content[place + 1 :]
    told = []
    try:
        path.write_bytes(damaged)
        with pytest.raises(LakeError, match=path.name):
            StoredCheckpoint(path.parent)
        checkpoint = open_latest(two_steps, tell=told.append)
    finally:
        path.write_bytes(content)
    assert checkpoint.step == 1
    assert "step 2 is passed over" in told[0]
    assert path.name in told[0]


def test_where_all_are_damaged_it_says_so_and_where_none_are_there_is_none(tmp_path):
    assert open_latest(tmp_path) is None
    with pytest.raises(UsageError, match="no checkpoint"):
        open_checkpoint(tmp_path)
    save_all(tmp_path, [[whole("p", (2,), value=torch.zeros(2))]])
    (tmp_path / "step-00000001" / "manifest.json").unlink()
    with pytest.raises(LakeError, match=r"none .* is whole; .*manifest.json"):
        open_latest(tmp_path, tell=lambda told: None)


# While training goes on.


def test_what_changes_after_save_does_not_reach_the_checkpoint(tmp_path, monkeypatch):
    gate = threading.Event()
    write = writer_module.write_checkpoint

    def late(*arguments):
        gate.wait(30)
        write(*arguments)

    monkeypatch.setattr(writer_module, "write_checkpoint", late)
    values = torch.arange(6.0)
    with CheckpointWriter(tmp_path) as writer:
        writer.save(1, [whole("p", (6,), value=values)], STATE)
        values.zero_()
        assert steps(tmp_path) == []
        gate.set()
    assert torch.equal(full_state(open_checkpoint(tmp_path), "value")["p"], torch.arange(6.0))


def test_a_second_save_waits_for_the_first_and_counts_it(tmp_path, monkeypatch):
    gate, written = threading.Event(), []

    def write(*arguments):
        gate.wait(30)
        written.append(arguments)

    monkeypatch.setattr(writer_module, "write_checkpoint", write)
    with CheckpointWriter(tmp_path) as writer:
        writer.save(1, [], STATE)
        assert writer.times.waited == 0
        threading.Timer(0.05, gate.set).start()
        writer.save(2, [], STATE)
        assert written
        assert writer.times.waited > 0
        assert writer.times.saves == 2


def test_a_step_is_saved_once(tmp_path):
    with CheckpointWriter(tmp_path) as writer:
        writer.save(3, [whole("p", (1,), value=torch.ones(1))], STATE)
        writer.save(3, [whole("p", (1,), value=torch.zeros(1))], STATE, wait=True)
        assert writer.times.saves == 1
    assert full_state(open_checkpoint(tmp_path), "value")["p"].item() == 1


def test_after_a_save_that_failed_the_next_is_made_and_waited_for(tmp_path, fault):
    fragments = [whole("p", (1,), value=torch.ones(1))]
    writer = CheckpointWriter(tmp_path)
    writer.save(1, fragments, STATE, wait=True)
    fault("enospc@checkpoint.data.fsync.before")
    writer.save(2, fragments, STATE)
    writer._thread.join()
    assert writer.failed
    writer.save(3, fragments, STATE)
    assert steps(tmp_path) == [1, 3]
    assert not writer.failed


@pytest.mark.parametrize(("kind", "passes"), [("enospc", False), ("eio", True)])
def test_a_disk_that_fails_again_is_told_and_the_one_before_stays(tmp_path, fault, kind, passes):
    fragments = [whole("p", (1,), value=torch.ones(1))]
    writer = CheckpointWriter(tmp_path)
    writer.save(1, fragments, STATE, wait=True)
    fault(f"{kind}@checkpoint.data.fsync.before")
    writer.save(2, fragments, STATE)
    writer._thread.join()
    fault(f"{kind}@checkpoint.data.fsync.before")
    with pytest.raises(LakeError) as caught:
        writer.save(3, fragments, STATE)
    assert caught.value.may_pass is passes
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00000001"]
    writer.save(3, fragments, STATE, wait=True)
    assert steps(tmp_path) == [1, 3]


def test_an_error_of_the_thread_goes_with_the_one_that_ends_the_run(tmp_path, fault):
    fault("enospc@checkpoint.manifest.write.before")
    error = RuntimeError("the loss is no number")

    def train():
        with CheckpointWriter(tmp_path) as writer:
            writer.save(1, [whole("p", (1,), value=torch.ones(1))], STATE)
            raise error

    with pytest.raises(RuntimeError, match="no number"):
        train()
    assert "is full" in error.__notes__[0]


def test_the_rank_that_did_not_come_is_named(tmp_path):
    writer = CheckpointWriter(tmp_path, ranks=2, token="attempt", limit=0.05)
    writer.save(1, [], STATE)
    with pytest.raises(LakeError, match="rank 1 of 2 did not write"):
        writer.close()
    assert list(tmp_path.iterdir()) == []


def test_rank_0_does_not_wait_for_a_rank_that_could_not_write(tmp_path, fault):
    fault("enospc@checkpoint.data.fsync.before")
    other = CheckpointWriter(tmp_path, rank=1, ranks=2, token="attempt")
    other.save(1, [whole("p", (1,), value=torch.ones(1))], STATE)
    with pytest.raises(LakeError, match="is full") as blamed:
        other.close()
    assert not blamed.value.may_pass
    writer = CheckpointWriter(tmp_path, ranks=2, token="attempt")
    writer.save(1, [], STATE)
    with pytest.raises(LakeError, match=r"rank 1 could not write .* is full") as caught:
        writer.close()
    assert caught.value.may_pass
    assert list(tmp_path.iterdir()) == []


def test_a_rank_learns_that_rank_0_gave_up(tmp_path, monkeypatch):
    wait = commit._await_commit

    def wait_in_vain(place, partial, final):
        partial.rename(tmp_path / "gone")
        wait(place, partial, final)

    monkeypatch.setattr(commit, "_await_commit", wait_in_vain)
    writer = CheckpointWriter(tmp_path, rank=1, ranks=2, token="attempt")
    writer.save(1, [], STATE)
    with pytest.raises(LakeError, match=r"rank 0 gave .* up"):
        writer.close()


# What stays and what goes.


def test_the_newest_are_kept_and_what_was_given_up_is_dropped(tmp_path):
    fragments = [whole("p", (1,), value=torch.ones(1))]
    for step in (10, 20, 30, 15):
        save_all(tmp_path, [fragments], step=step)
    # The run went on from step 10 or before: 20 and 30 were of another course.
    assert steps(tmp_path) == [15]
    save_all(tmp_path, [fragments], step=20, keep=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00000020"]


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(tmp_path):
    fragments = [whole("p", (1,), value=torch.ones(1))]
    save_all(tmp_path, [fragments], step=5)
    (tmp_path / "step-00000005" / "manifest.json").write_text("")
    save_all(tmp_path, [fragments], step=5)
    assert open_checkpoint(tmp_path).step == 5
    assert len(list(tmp_path.iterdir())) == 1


def test_only_what_dead_attempts_left_is_swept(tmp_path):
    parent = os.getppid()
    alive = attempt_token().replace(f"-{os.getpid()}-", f"-{parent}-")
    start = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    boot, pid, _, rest = alive.split("-")
    names = [
        f".step-00000001.{boot}-{pid}-{start}-{rest}.partial",
        f".step-00000001.{boot}-{pid}-1-{rest}.partial",
        f".step-00000002.{attempt_token()}.removed",
        ".step-00000003.elsewhere.partial",
        ".step-00000004.ours.partial",
        "notes",
    ]
    for name in names:
        (tmp_path / name).mkdir()
    CheckpointWriter(tmp_path, token="ours")
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {names[0], names[4], names[5]}


# Random states.


def draw():
    """Two numbers of each generator: so that NumPy's and Python's spare ones count."""
    numbers = [torch.randn(3).tolist(), np.random.standard_normal(), random.gauss()]
    return [*numbers, np.random.standard_normal(), random.gauss(0, 1), torch.rand(()).item()]


def test_random_numbers_go_on_where_they_were(tmp_path):
    seed_random(1, 0, 0)
    draw()
    random.gauss()
    save_all(tmp_path, [[whole("p", (1,), value=torch.ones(1))]])
    expected = draw()
    assert open_checkpoint(tmp_path).restore_random(0, 1)
    assert draw() == expected


def test_at_another_world_size_they_are_a_function_of_seed_rank_and_step(tmp_path):
    save_all(tmp_path, [[whole("p", (1,), value=torch.ones(1))]], step=9)
    checkpoint = open_checkpoint(tmp_path)
    drawn = []
    for rank in (0, 1, 1):
        assert not checkpoint.restore_random(rank, 2)
        drawn.append(draw())
    assert drawn[0] != drawn[1] == drawn[2]
    seed_random(STATE.seed, 1, 9)
    assert draw() == drawn[1]


# Whole weights.


def test_whole_weights_are_read_tensor_by_tensor(tmp_path):
    net = torch.nn.Linear(5, 3)
    held = [
        whole(name, tuple(p.shape), value=p.detach().view(-1), ema=2 * p.detach().view(-1))
        for name, p in net.named_parameters()
    ]
    save_all(tmp_path, [list(share(held, rank, 2)) for rank in range(2)])
    checkpoint, other = open_checkpoint(tmp_path), torch.nn.Linear(5, 3)
    load_parameters(other, checkpoint, "value")
    assert torch.equal(other.weight, net.weight)
    state = full_state(checkpoint)
    assert list(state) == ["bias", "weight"]
    assert torch.equal(state["weight"], 2 * net.weight)
    with pytest.raises(LakeError, match="weight is"):
        load_parameters(torch.nn.Linear(4, 3), checkpoint)
    with pytest.raises(LakeError, match="bias is in the checkpoint alone"):
        load_parameters(torch.nn.Linear(5, 3, bias=False), checkpoint)
    with pytest.raises(LakeError, match="holds no 'exp_avg'; it holds ema, value"):
        full_state(checkpoint, "exp_avg")


# Being told to stop.


def test_a_signal_raises_a_flag_and_no_more():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert stop.flag == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.flag == 1
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_it_can_still_be_asked_to_stop():
    before, flags = signal.getsignal(signal.SIGTERM), []

    def train():
        with StopRequest() as stop:
            flags.extend([stop.flag, signal.getsignal(signal.SIGTERM) is before])
            stop.ask()
            flags.append(stop.flag)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert flags == [0, True, 1]


# What is refused at once.


@pytest.mark.parametrize(
    ("start", "tensor"),
    [
        (0, torch.zeros(5)),
        (3, torch.zeros(2)),
        (-1, torch.zeros(2)),
        (0, torch.zeros(2, 2)),
        (0, torch.zeros(2).half()),
    ],
)
def test_a_fragment_lies_within_its_parameter_in_flat_float32(start, tensor):
    with pytest.raises(ValueError, match="p"):
        Fragment("p", (2, 2), start, {"value": tensor})


def test_a_number_that_is_none_is_refused_when_it_is_saved():
    with pytest.raises(ValueError, match="scale = inf"):
        RunState(position=0, scalars={"scale": math.inf})
