"""The loader: the same samples whoever reads them, and clear ends where nobody can."""

import os
import signal
import time
from dataclasses import dataclass

import pytest
import torch

from infra.errors import EngineError, LakeError, UsageError
from tests.training_release import dome_recipe, dome_release
from training.recipe import Recipe
from training.samples.loader import LostSamples, TrainingLoader
from training.samples.sample import TrainingSample


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return dome_release(tmp_path_factory.mktemp("loader"), (24, 20))


def _recipe(**data) -> Recipe:
    # Films need no mesh: processes of their own do not know our domes.
    return dome_recipe(conditions="film", **data)


def _same(one, other) -> bool:
    return one.positions == other.positions and all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("video", "mask", "shading", "landmarks")
    )


def test_processes_read_what_the_trainer_itself_would(release):
    here = list(TrainingLoader(release, _recipe(), micro_batch=2))
    before = torch.get_rng_state()
    there = list(TrainingLoader(release, _recipe(workers=2), micro_batch=2))
    assert torch.equal(torch.get_rng_state(), before)  # the run's own random numbers
    assert [batch.positions for batch in here] == [(p, p + 1) for p in range(0, 12, 2)]
    assert all(map(_same, here, there))


def test_ranks_and_micro_batches_share_one_stream(release):
    whole = [
        p for batch in TrainingLoader(release, _recipe(), micro_batch=4) for p in batch.positions
    ]
    loaders = [
        TrainingLoader(release, _recipe(), rank=rank, ranks=2, micro_batch=1) for rank in (0, 1)
    ]
    shares = [[p for batch in loader for p in batch.positions] for loader in loaders]
    assert sorted(p for share in shares for p in share) == whole == list(range(12))
    assert [loader.micro_batches for loader in loaders] == [2, 2]


def test_a_resumed_run_goes_on_where_it_stopped(release):
    every = list(TrainingLoader(release, _recipe(), micro_batch=2))
    rest = list(TrainingLoader(release, _recipe(), start_step=2, micro_batch=2))
    assert len(rest) == 2
    assert all(map(_same, every[4:], rest))


def test_a_batch_that_cannot_be_cut_is_refused_at_once(release):
    with pytest.raises(UsageError, match="micro-batches of 3"):
        TrainingLoader(release, _recipe(), micro_batch=3)


@dataclass
class Reader:
    """Reads one sample, then does something else."""

    ill: str

    def __getitem__(self, position: int) -> TrainingSample:
        if position > 0:
            if self.ill == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.ill == "fails":
                raise LakeError("no sample", hint="look after the disk")
            time.sleep(60)
        pictures = torch.zeros(4, 64, 64, 3, dtype=torch.uint8)
        mask = torch.zeros(4, 8, 8, dtype=torch.bool)
        return TrainingSample(position, "key", pictures, mask, pictures)


@pytest.mark.parametrize(
    ("ill", "wait", "error", "words"),
    [
        ("dies", 100, EngineError, "a process that reads training samples died"),
        ("hangs", 2, EngineError, "no training sample came for 2 seconds"),
        ("fails", 100, LakeError, "no sample\n  -> look after the disk"),
    ],
)
def test_a_reading_process_that_ends_badly_ends_the_run(release, ill, wait, error, words):
    loader = TrainingLoader(release, _recipe(workers=1, wait_seconds=wait), micro_batch=1)
    loader.reader = Reader(ill)
    with pytest.raises(error, match=words):
        list(loader)


def test_lost_samples_are_counted_up_to_the_limit():
    lost = LostSamples(2)
    lost.add([("a", "damaged")])
    lost.add([])
    lost.add([("a", "damaged")])
    assert len(lost) == 2
    with pytest.raises(LakeError, match=r"3 training samples were damaged, 2 are allowed .*a \("):
        lost.add([("b", "missing")])
