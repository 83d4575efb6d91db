from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.splits import assign_splits, split_of

PAIRS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("ABCDEFGHIJ")))
SHARES = st.tuples(st.floats(0, 0.5), st.floats(0, 0.5))


@given(PAIRS, st.integers(), SHARES)
def test_no_clip_and_no_identity_is_in_two_splits(pairs, seed, shares):
    splits = assign_splits(pairs, seed=seed, val=shares[0], test=shares[1])
    assert set(splits) == {clip for clip, _ in pairs}
    for who in {identity for _, identity in pairs}:
        assert len({splits[clip] for clip, identity in pairs if identity == who}) == 1


@given(PAIRS, st.randoms())
def test_the_order_of_the_clips_changes_nothing(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    shares = {"seed": 0, "val": 0.3, "test": 0.3}
    assert assign_splits(shuffled, **shares) == assign_splits(pairs, **shares)


def test_a_chain_of_duplicates_is_one_group():
    chain = [(f"clip{i}", f"person{i + j}") for i in range(50) for j in (0, 1)]
    assert len(set(assign_splits(chain, seed=3, val=0.3, test=0.3).values())) == 1


def test_a_new_clip_moves_nobody():
    old = [(f"c{i}", f"p{i}") for i in range(100)]
    before = assign_splits(old, seed=0, val=0.2, test=0.2)
    after = assign_splits([*old, ("new", "somebody")], seed=0, val=0.2, test=0.2)
    assert before.items() <= after.items()


def test_shares_are_met_within_three_standard_deviations():
    counts = Counter(split_of(str(i), seed=1, val=0.1, test=0.2) for i in range(10_000))
    assert counts["val"] == pytest.approx(1000, abs=90)
    assert counts["test"] == pytest.approx(2000, abs=120)


def test_a_share_of_nought_is_empty_and_of_one_is_all():
    assert {split_of(str(i), seed=0, val=0, test=0) for i in range(100)} == {"train"}
    assert {split_of(str(i), seed=0, val=0, test=1) for i in range(100)} == {"test"}


def test_another_seed_divides_otherwise():
    divisions = {
        tuple(split_of(str(i), seed=seed, val=0.5, test=0) for i in range(64)) for seed in range(5)
    }
    assert len(divisions) == 5
