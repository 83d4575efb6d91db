"""The stream of samples is arithmetic: shared, resumed and replaced without any state."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UsageError
from training.sampling import Purpose, SampleStream, Window, generator, micro_batches, share

SEEDS = st.integers(0, 2**32)


@given(lengths=st.lists(st.integers(1, 200), max_size=40), seed=SEEDS, epoch=st.integers(0, 10**6))
def test_an_epoch_has_every_clip_that_is_long_enough_once(lengths, seed, epoch):
    usable = [clip for clip, length in enumerate(lengths) if length >= 15]
    if not usable:
        with pytest.raises(UsageError, match="has the 15 frames of a window"):
            SampleStream(lengths, Window(15), seed=seed)
        return
    stream = SampleStream(lengths, Window(15), seed=seed)
    assert stream.epoch == len(usable)
    positions = range(epoch * stream.epoch, (epoch + 1) * stream.epoch)
    assert sorted(stream.draw(position).clip for position in positions) == usable


@given(
    length=st.integers(16, 300),
    frames=st.integers(1, 20),
    strides=st.lists(st.integers(1, 8), min_size=2, max_size=2).map(sorted),
    seed=SEEDS,
    position=st.integers(0, 10**6),
    attempt=st.integers(0, 3),
)
def test_windows_lie_inside_their_clip_at_a_stride_that_fits(
    length, frames, strides, seed, position, attempt
):
    low, high = strides
    window = Window(min(frames, length), (low, high))
    drawn = SampleStream([length], window, seed=seed).draw(position, attempt)
    assert len(drawn.frames) == window.frames
    assert drawn.indices == (drawn.reference, *drawn.frames)
    assert 0 <= drawn.frames[0] <= drawn.frames[-1] < length
    assert 0 <= drawn.reference < length
    if window.frames > 1:
        [stride] = set(np.diff(drawn.frames).tolist())
        widest = (length - 1) // (window.frames - 1)
        assert min(low, widest) <= stride <= min(high, widest)


@given(
    step=st.integers(0, 10**5),
    size=st.integers(1, 6),
    micro=st.integers(1, 6),
    ranks=st.integers(1, 9),
)
def test_ranks_share_a_step_in_order_without_gap_or_overlap(step, size, micro, ranks):
    batch = size * micro * ranks
    shares = [share(step, batch=batch, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert [p for each in shares for p in each] == list(range(step * batch, (step + 1) * batch))
    for each in shares:
        parts = micro_batches(each, micro)
        assert {len(part) for part in parts} == {micro}
        assert [p for part in parts for p in part] == list(each)


def test_what_is_drawn_follows_from_seed_position_and_attempt_alone():
    def drawn(seed: int, attempt: int = 0) -> list:
        stream = SampleStream([50, 90] * 15, Window(), seed=seed)
        return [stream.draw(position, attempt) for position in range(40)]

    late = SampleStream([50, 90] * 15, Window(), seed=1)
    assert [late.draw(p) for p in reversed(range(40))] == drawn(1)[::-1]
    for other in (drawn(2), drawn(1, attempt=1)):
        assert [d.clip for d in other] != [d.clip for d in drawn(1)]
        assert [d.frames for d in other] != [d.frames for d in drawn(1)]


def test_epochs_have_orders_of_their_own():
    stream = SampleStream([50] * 30, Window(), seed=0)
    first, second = ([stream.clip(e * 30 + place) for place in range(30)] for e in (0, 1))
    assert first != second


def test_every_window_stride_and_reference_is_drawn_sooner_or_later():
    stream = SampleStream([64], Window(16, (3, 4)), seed=0)
    drawn = [stream.draw(position) for position in range(400)]
    assert {(d.frames[0], d.frames[1] - d.frames[0]) for d in drawn} >= {(0, 4), (3, 4), (18, 3)}
    assert len({d.reference for d in drawn}) > 60


def test_random_numbers_of_one_purpose_do_not_depend_on_those_of_another():
    random = [generator(7, purpose, 3).random() for purpose in Purpose]
    assert len(set(random)) == len(random)


def test_impossible_windows_and_shares_are_refused():
    with pytest.raises(ValueError, match="first stride"):
        Window(4, (3, 2))
    with pytest.raises(ValueError, match="cannot give 15"):
        Window().fit(14)
    with pytest.raises(ValueError, match="0 to 1 are allowed"):
        share(0, batch=4, rank=2, ranks=2)
    with pytest.raises(UsageError, match="8 cannot be shared equally among 3 ranks"):
        share(0, batch=8, rank=0, ranks=3)
    with pytest.raises(UsageError, match="4 samples a step cannot be cut into micro-batches of 3"):
        micro_batches(range(4), 3)
