"""Branches and guidance: which passes of the network are summed, and by which weights."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.diffusion.branches import (
    BARE,
    FULL,
    PAPER_LIT,
    PAPER_NONE,
    PAPER_POSED,
    PAPER_UNLIT,
    POSED,
    UNLIT,
    Driving,
    guidance,
)

WEIGHTS = st.floats(0, 20)


@given(WEIGHTS, WEIGHTS, st.sampled_from(["shading", "landmarks"]))
def test_guidance_is_the_formula_it_stands_for(
    light: float, identity: float, driving: Driving
) -> None:
    driven = FULL if driving == "shading" else POSED
    bare, unlit, full = 0.3, -1.7, 2.2
    says = {BARE: bare, UNLIT: unlit, driven: full}
    found = sum(w * says[b] for b, w in guidance("branches", light, identity, driving))
    assert found == pytest.approx(bare + identity * (unlit - bare) + light * (full - unlit))


@given(WEIGHTS, WEIGHTS)
def test_the_weights_add_up_to_one_and_none_is_nothing(light: float, identity: float) -> None:
    found = (guidance("branches", light, identity), guidance("paper", light))
    for each in found:
        assert sum(weight for _, weight in each) == pytest.approx(1)
        assert all(weight for _, weight in each)
        assert len({branch for branch, _ in each}) == len(each)


def test_guidance_by_identity_1_costs_two_passes() -> None:
    assert guidance("branches", light=4.5) == ((UNLIT, -3.5), (FULL, 4.5))


def test_another_identity_costs_three() -> None:
    assert guidance("branches", light=4.5, identity=2) == ((BARE, -1), (UNLIT, -2.5), (FULL, 4.5))


def test_without_guidance_there_is_one_pass_under_all_conditions() -> None:
    assert guidance("branches", light=1) == ((FULL, 1),)
    assert guidance("paper", light=1) == ((PAPER_LIT, 1),)


def test_nothing_asked_for_leaves_the_ground_alone() -> None:
    assert guidance("branches", light=0, identity=0) == ((BARE, 1),)


def test_lcvds_guidance_lets_go_of_the_token_with_the_light() -> None:
    assert guidance("paper", light=4.5) == ((PAPER_UNLIT, -3.5), (PAPER_LIT, 4.5))
    assert PAPER_LIT.token
    assert not PAPER_UNLIT.token


def test_lcvds_guidance_by_landmarks_starts_from_the_ground() -> None:
    assert guidance("paper", light=2, driving="landmarks") == ((PAPER_NONE, -1), (PAPER_POSED, 2))


def test_lcvds_scheme_refuses_a_weight_that_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"identity = 2.*no other than 1"):
        guidance("paper", light=4.5, identity=2)


def test_a_branch_names_the_streams_that_it_hears() -> None:
    assert FULL.streams == ("shading", "reference")
    assert POSED.streams == ("reference", "landmarks")
    assert BARE.streams == ()
