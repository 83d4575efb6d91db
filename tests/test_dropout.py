"""Which conditions training samples keep: pure maps of uniform numbers, and how often each comes.

The maps of the scheme `paper` are compared with those of LCVD's own lines: exact.
"""

from collections import Counter
from fractions import Fraction
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rule import golden_arrays
from training.diffusion.branches import BARE, FULL, POSED, UNLIT, Branch, guidance
from training.diffusion.dropout import (
    UNIFORMS,
    paper_kept,
    paper_kept_adapters,
    shared_branch,
    trained_branch,
)
from training.recipe.tables import ConditionsTable

PAPER = ConditionsTable(scheme="paper")
TENTHS = [(2 * i + 1) / 20 for i in range(10)]
HALVES = [0.25, 0.75]


def paper_shares() -> dict[Branch, Fraction]:
    """How often each branch is trained in the scheme `paper`, exactly.

    Its maps change at multiples of a tenth (token and ground; all adapters together) or at one
    half (each adapter) alone: the middles of these intervals stand for all numbers.
    """
    cells = [*product(TENTHS, HALVES, HALVES, HALVES, TENTHS)]
    counts = Counter(trained_branch(uniforms, PAPER) for uniforms in cells)
    return {branch: Fraction(count, len(cells)) for branch, count in counts.items()}


def test_token_and_ground_are_dropped_as_lcvd_drops_them() -> None:
    golden = golden_arrays("edm")
    found = [paper_kept(float(uniform)) for uniform in golden["drop_u"]]
    wanted = zip(golden["drop_clip_keep"], golden["drop_latent_keep"], strict=True)
    assert found == [(bool(token), bool(ground)) for token, ground in wanted]


def test_adapters_are_dropped_as_lcvd_drops_them() -> None:
    golden = golden_arrays("edm")
    rows = golden["adapter_drop_u_head_light_ref_full"].tolist()
    found = [paper_kept_adapters(*row) for row in rows]
    assert found == [tuple(map(bool, row)) for row in golden["adapter_keep_head_light_ref"]]


def test_the_paper_trains_its_two_branches_of_relighting_in_7_and_1_percent_of_steps() -> None:
    shares = paper_shares()
    (unlit, _), (lit, _) = guidance("paper", light=4.5)
    assert shares[lit] == Fraction(7, 100)
    assert shares[unlit] == Fraction(1, 100)
    assert sum(shares.values()) == 1


def test_the_paper_shows_landmarks_in_half_of_the_steps_though_relighting_has_none() -> None:
    assert sum(share for branch, share in paper_shares().items() if branch.landmarks) == 0.5


def test_the_paper_keeps_all_adapters_or_none_twice_as_often_as_any_other_set() -> None:
    adapters: Counter[tuple[str, ...]] = Counter()
    for branch, share in paper_shares().items():
        adapters[branch.streams] += share
    assert adapters.pop(("shading", "reference", "landmarks")) == Fraction(1, 5)
    assert adapters.pop(()) == Fraction(1, 5)
    assert set(adapters.values()) == {Fraction(1, 10)}
    assert len(adapters) == 6


@given(st.lists(st.integers(0, 100), min_size=3, max_size=3).map(sorted))
def test_ours_trains_each_branch_in_the_share_that_is_asked(cuts: list[int]) -> None:
    edges = [0, *cuts, 100]
    parts = dict(zip(("full", "unlit", "bare", "posed"), pairwise(edges), strict=False))
    table = ConditionsTable(**{name: (high - low) / 100 for name, (low, high) in parts.items()})
    drawn = Counter(shared_branch((2 * i + 1) / 200, table) for i in range(100))
    wanted = {
        branch: parts[name][1] - parts[name][0]
        for name, branch in {"full": FULL, "unlit": UNLIT, "bare": BARE, "posed": POSED}.items()
    }
    assert drawn == Counter({branch: count for branch, count in wanted.items() if count})


def test_ours_trains_every_branch_that_guidance_asks_for() -> None:
    table = ConditionsTable()
    drawn = Counter(trained_branch([u, 0, 0, 0, 0], table) for u in TENTHS)
    asked = {branch: drawn[branch] for branch, _ in guidance("branches", 4.5, identity=2)}
    assert asked == {FULL: 7, UNLIT: 2, BARE: 1}


def test_the_last_number_below_1_never_draws_a_branch_of_share_0() -> None:
    """The sum of 0.7, 0.2 and 0.1 is a little less than 1."""
    nearly = 1 - 2**-53
    assert sum((0.7, 0.2, 0.1)) <= nearly
    assert shared_branch(nearly, ConditionsTable()) == BARE


@pytest.mark.parametrize("count", [0, UNIFORMS - 1, UNIFORMS + 1])
def test_a_sample_takes_five_numbers_whatever_the_scheme(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} uniforms: a sample takes 5"):
        trained_branch([0.5] * count, ConditionsTable())
