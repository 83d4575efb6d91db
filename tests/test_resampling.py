"""Intervals of values of many films together."""

import numpy as np
import pytest

from evaluation.frechet.samples import Samples
from evaluation.metrics.base import MetricInfo
from evaluation.metrics.frechet_standard import FrechetMetric
from evaluation.metrics.fvd import MotionVectors
from evaluation.records.resampling import Kept, set_interval, together
from evaluation.records.statistics import reach


class Frechet(FrechetMetric):
    """The distance, with few draws."""

    draws = 40

    def __init__(self):
        super().__init__(MotionVectors())

    @property
    def info(self):
        return MetricInfo("f", "F", False, "", (0.0, np.inf), "none", "standard", "A distance.")


METRIC = Frechet()


def people(generator, identities, shift=1.0):
    """Films of people: Gaussian around each, and relit twice; four frames of three numbers."""
    outputs, reals = [], []
    for number in range(identities):
        who = generator.normal(0, 1, 3)
        frames = generator.normal(0, 0.5, (3, 4, 3)) + who
        reals.append(Kept(f"{number}", Samples.of(frames[0])))
        for light in (1, 2):
            moved = 0.8 * frames[light] + shift + generator.normal(0, 0.3, 3)
            outputs.append(Kept(f"{number}", Samples.of(moved)))
    return outputs, reals


def value(outputs, reals):
    made, real = (together(each.statistics for each in films) for films in (outputs, reals))
    return METRIC.value(made, real).value


@pytest.mark.parametrize("identities", [5, 12])
def test_intervals_cover_the_expected_distance_about_as_often_as_they_say(identities):
    generator = np.random.default_rng(0)
    values = [value(*people(generator, identities)) for _ in range(200)]
    ends = []
    for _ in range(50):
        outputs, reals = people(generator, identities)
        ends.append(set_interval(METRIC, value(outputs, reals), outputs, reals))
    low, high = np.array(ends).T
    assert np.mean((low <= np.mean(values)) & (np.mean(values) <= high)) >= 0.86
    asked = reach(identities) * np.std(values)
    assert 0.7 < np.median(high - low) / 2 / asked < 1.4


def test_an_interval_that_forgot_the_clusters_would_be_too_narrow():
    outputs, reals = people(np.random.default_rng(1), 10)
    again = [Kept(f"{e.identity}{n}", e.statistics) for n in range(4) for e in outputs]
    alone = [Kept(f"{e.identity}{n}", e.statistics) for n in range(4) for e in reals]
    both = [[*films] * 4 for films in (outputs, reals)]
    wide, narrow = (set_interval(METRIC, 9.0, *films) for films in (both, (again, alone)))
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_the_order_of_people_changes_no_bit():
    outputs, reals = people(np.random.default_rng(2), 6)
    wanted = set_interval(METRIC, 3.0, outputs, reals)
    # A person's own films keep the order in which they are given.
    turned = [film for n in (3, 0, 5, 1, 4, 2) for film in outputs if film.identity == f"{n}"]
    assert set_interval(METRIC, 3.0, turned, reals[::-1]) == wanted


def test_one_person_has_no_interval():
    assert set_interval(METRIC, 1.0, *people(np.random.default_rng(3), 1)) is None


def test_an_interval_ends_with_the_metric_s_range():
    low, high = set_interval(METRIC, 0.01, *people(np.random.default_rng(4), 3))
    assert low == 0 < high


def test_a_driver_who_is_in_no_portrait_may_be_missing_from_a_draw():
    outputs, reals = people(np.random.default_rng(5), 8)
    driver = [Kept("driver", reals[0].statistics)]
    low, high = set_interval(METRIC, value(outputs, driver), outputs, driver)
    assert 0 < high - low < np.inf


def test_a_metric_that_refuses_most_draws_has_no_interval(monkeypatch):
    def refuse(self, outputs, reals):
        raise ValueError("too few")

    monkeypatch.setattr(Frechet, "redrawn", refuse)
    assert set_interval(METRIC, 1.0, *people(np.random.default_rng(6), 4)) is None
