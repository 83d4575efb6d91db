"""Windows of long videos: LCVD's where it has any, and the rules that all of them keep."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rule import golden_arrays, golden_facts
from training.diffusion.windows import held, window_list, window_weights

SHAPES = st.integers(2, 40).flatmap(
    lambda window: st.tuples(st.integers(2, 200), st.just(window), st.integers(1, window - 1))
)


@pytest.mark.parametrize("frames", [16, 17, 26, 37, 101])
def test_windows_are_those_of_lcvd(frames: int) -> None:
    wanted = golden_facts("sampler")["windows"][str(frames)]
    assert [list(window) for window in window_list(frames)] == wanted


def test_a_slots_weight_is_that_of_lcvd() -> None:
    assert np.array_equal(window_weights(16), golden_arrays("sampler")["tile_weight"])


@pytest.mark.parametrize("frames", [16, 17, 26, 37, 101])
def test_the_weights_add_up_as_in_lcvd(frames: int) -> None:
    total = np.zeros(frames, np.float32)
    for window in window_list(frames):
        total[list(window)] += window_weights(16).numpy()
    assert np.array_equal(total, golden_arrays("sampler")[f"weight_sum_{frames}"])


@given(SHAPES)
def test_windows_cover_every_frame(shape: tuple[int, int, int]) -> None:
    frames, window, overlap = shape
    seen = {index for each in window_list(frames, window, overlap) for index in each}
    assert seen == set(range(max(frames, window)))


@given(SHAPES)
def test_windows_are_the_reference_and_a_run_of_frames(shape: tuple[int, int, int]) -> None:
    frames, window, overlap = shape
    for first, *run in window_list(frames, window, overlap):
        assert first == 0
        assert run == [*range(run[0], run[0] + window - 1)]


@given(SHAPES)
def test_neighbours_share_what_is_asked_but_the_last_which_may_share_more(
    shape: tuple[int, int, int],
) -> None:
    frames, window, overlap = shape
    windows = window_list(frames, window, overlap)
    shared = [len(set(one) & set(other)) for one, other in pairwise(windows)]
    assert all(each == overlap for each in shared[:-1])
    assert all(overlap <= each < window for each in shared[-1:])


@given(SHAPES)
def test_the_last_window_ends_with_the_video(shape: tuple[int, int, int]) -> None:
    frames, window, overlap = shape
    assert window_list(frames, window, overlap)[-1][-1] == max(frames, window) - 1


@given(st.integers(2, 200))
def test_weights_are_positive_and_fall_alike_towards_both_ends(window: int) -> None:
    weights = window_weights(window).numpy()
    assert weights.min() == weights[0] > 0
    assert weights.max() <= 1
    assert np.array_equal(weights, weights[::-1])
    assert (np.diff(weights[: (window + 1) // 2]) > 0).all()


@pytest.mark.parametrize("frames", [2, 15])
def test_a_short_video_holds_its_last_frame(frames: int) -> None:
    (window,) = window_list(frames)
    assert held(window, frames) == [*range(frames), *[frames - 1] * (16 - frames)]


def test_a_video_of_the_reference_alone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"frames = 1: .* at least one more"):
        window_list(1)


@pytest.mark.parametrize(("window", "overlap"), [(16, 16), (16, 0), (1, 1), (16, 17)])
def test_windows_that_do_not_move_on_are_refused(window: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=f"window = {window}, overlap = {overlap}"):
        window_list(37, window, overlap)
