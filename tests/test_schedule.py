"""Which frame is shown at which tick."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.schedule import Schedule, TimestampError, nominal_rate

rates = st.sampled_from([Fraction(15), Fraction(24000, 1001), Fraction(25), Fraction(60)])


def lay(times: list[Fraction], rate: Fraction) -> tuple[list[int], Schedule[int]]:
    schedule = Schedule[int](rate)
    return list(schedule.lay(enumerate(times))), schedule


@given(rates, st.integers(1, 300), st.fractions(-100, 100))
def test_constant_rate_passes_through(rate, count, start):
    shown, schedule = lay([start + t / rate for t in range(count)], rate)
    assert shown == list(range(count))
    assert schedule.even


@given(rates, st.integers(1, 300))
def test_millisecond_timestamps_fall_on_their_own_ticks(rate, count):
    shown, schedule = lay([Fraction(round(t / rate * 1000), 1000) for t in range(count)], rate)
    assert shown == list(range(count))
    assert schedule.even


@given(rates, st.lists(st.fractions(0, 2, max_denominator=90_000), min_size=1, max_size=60))
def test_each_tick_shows_the_latest_frame_not_later_than_half_a_tick(rate, gaps):
    times = [sum(gaps[: i + 1], Fraction(0)) for i in range(len(gaps))]
    shown, schedule = lay(times, rate)
    for tick, index in enumerate(shown):
        due = times[0] + (tick + Fraction(1, 2)) / rate
        assert index == max(i for i, time in enumerate(times) if time <= due or i == 0)
    assert schedule.ticks == len(shown)
    assert len(times) - schedule.dropped + schedule.repeated == len(shown)


def test_dropped_and_repeated_frames_are_counted():
    tenths = [0, 1, 2, 5, 6, 6, 7]
    shown, schedule = lay([Fraction(t, 10) for t in tenths], Fraction(10))
    assert shown == [0, 1, 2, 2, 2, 3, 5, 6]
    assert (schedule.repeated, schedule.dropped, schedule.even) == (2, 1, False)


def test_uneven_frames_are_not_even_though_each_has_its_tick():
    shown, schedule = lay([Fraction(t) for t in (0, Fraction(13, 10), 2, 3)], Fraction(1))
    assert shown == [0, 1, 2, 3]
    assert not schedule.even


@pytest.mark.parametrize(("leap", "words"), [(31, "stand for 31 s"), (-3, "go back from 2.00 s")])
def test_leaping_timestamps_are_refused(leap, words):
    times = [Fraction(0), Fraction(1), Fraction(2), Fraction(2 + leap)]
    with pytest.raises(TimestampError, match=words):
        lay(times, Fraction(1))


def test_no_frames_make_no_ticks():
    assert lay([], Fraction(25))[0] == []


@pytest.mark.parametrize(
    ("average", "base", "expected"),
    [
        (Fraction(30000, 1001), Fraction(30000, 1001), Fraction(30000, 1001)),
        (Fraction(2983, 100), Fraction(30), Fraction(30)),
        (Fraction(4000, 163), Fraction(90_000), Fraction(4000, 163)),
        (None, Fraction(24), Fraction(24)),
        (None, Fraction(90_000), Fraction(25)),
        (None, None, Fraction(25)),
        (Fraction(0), None, Fraction(25)),
    ],
)
def test_nominal_rate(average, base, expected):
    assert nominal_rate(average, base) == expected
