"""Records of benchmarks, and what is concluded from them."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evaluation.metrics.base import MetricInfo
from evaluation.records.compare import compare
from evaluation.records.facts import CellFacts, ClipFacts, MetricFacts
from evaluation.records.opinions import opinions
from evaluation.records.published import TABLES
from evaluation.records.record import Record, mean_trace, read_record, write_record
from evaluation.records.statistics import estimate, holm, paired_tests, sign_flip, summary
from evaluation.study.plan import QUESTIONS, StudyCell
from evaluation.study.summary import summarise
from evaluation.study.votes import VoteKey, Votes
from infra.errors import UsageError
from tests.benchmark_record import make_record

NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=25, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"])), NUMBERS, st.dictionaries(st.text(), NUMBERS)
)
def test_a_record_comes_back_as_it_was_written(tmp_path_factory, name, seconds, values):
    record = make_record(clips=1, identities=1)
    values = {metric: value for metric, value in values.items() if metric == "le"}
    cell = record.cells[0].model_copy(update={"seconds_per_frame": seconds, "values": values})
    record = Record.model_validate(record.model_copy(update={"name": name, "cells": (cell,)}))
    path = write_record(record, tmp_path_factory.mktemp("record") / "record.json")
    assert read_record(path) == record
    assert read_record(path).text() == record.text()


def test_every_key_of_a_record_is_documented():
    schema = Record.model_json_schema()
    for name, table in {"Record": schema, **schema["$defs"]}.items():
        for key, field in table.get("properties", {}).items():
            assert field.get("description"), f"{name}.{key}"


def test_the_order_of_keys_does_not_change_a_byte():
    record = make_record()
    shuffled = dict(reversed(json.loads(record.text()).items()))
    assert Record.model_validate_json(json.dumps(shuffled)).text() == record.text()


def test_nan_is_null_and_zero_has_no_sign():
    values = {"le": math.nan, "id": -0.0, "fid": np.float64(2)}
    cell = CellFacts(id="a", case="a", method="m", mode="relight", clip="c", values=values)
    assert cell.model_dump_json().count("null") == 3  # and the two costs
    assert '"id":0.0' in cell.model_dump_json()
    assert cell.values["fid"] == 2


def test_an_infinite_value_is_refused():
    with pytest.raises(ValidationError, match="infinite"):
        CellFacts(id="a", case="a", method="m", mode="relight", clip="c", values={"le": math.inf})


def test_a_metrics_info_fits_into_a_record():
    info = MetricInfo("le", "LE", False, "", (0, math.inf), "DECA", "standard", "How far.")
    assert MetricFacts.model_validate(info.to_json()).range == (0, None)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.mp4", "a/../../x", "http://a", "a\\b"])
def test_a_video_lies_beside_the_report(path):
    with pytest.raises(ValidationError, match="beside the report"):
        ClipFacts(id="a", name="a", identity="a", frames=1, video=path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clips": ()}, "clip 'clip-000' is named"),
        ({"lights": ()}, "light 'left' is named"),
        ({"metrics": ()}, "metric 'le' is named"),
        ({"methods": ()}, "method 'copy' is named"),
        ({"version": 2}, "version"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_record_that_does_not_hang_together_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        Record.model_validate({**make_record().model_dump(), **change})


def test_a_case_is_asked_of_a_method_once():
    record = make_record(clips=1)
    again = record.cells[0].model_copy(update={"id": "again"})
    with pytest.raises(ValidationError, match="twice"):
        make_record(clips=1, cells=(*record.cells, again))


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\xff", '{"version": 3}'])
def test_a_file_that_is_no_record_says_so(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match="no record of version 1"):
        read_record(path)


def test_a_missing_file_says_what_writes_one(tmp_path):
    with pytest.raises(UsageError, match="benchmark run"):
        read_record(tmp_path / "none.json")


def test_a_trace_is_the_mean_over_the_films_that_are_long_enough():
    films = [np.array([1.0, 2, np.nan]), np.array([3.0]), np.array([np.nan, 4, np.nan])]
    assert mean_trace(films)[:2] == [2, 3]
    assert math.isnan(mean_trace(films)[2])


@pytest.mark.parametrize("identities", [3, 12])
def test_intervals_cover_the_truth_about_as_often_as_they_say(identities):
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        people = generator.normal(0, 1, identities)
        values = (people[:, None] + generator.normal(0, 0.5, (identities, 4))).ravel()
        found = estimate(values.tolist(), [str(n // 4) for n in range(4 * identities)])
        covered += found.low <= 0 <= found.high
    assert 0.91 <= covered / 200 <= 0.99


def test_an_interval_that_forgot_the_clusters_would_be_too_narrow():
    values = np.repeat(np.random.default_rng(0).normal(0, 1, 10), 20).tolist()
    clustered = estimate(values, [str(n // 20) for n in range(200)])
    alone = estimate(values, [str(n) for n in range(200)])
    assert clustered.high - clustered.low > 3 * (alone.high - alone.low)


def test_an_estimate_does_not_depend_on_the_order_of_the_rows():
    generator = np.random.default_rng(1)
    values, people = generator.normal(size=60), generator.integers(0, 9, 60).astype(str)
    order = generator.permutation(60)
    assert estimate(values, people) == estimate(values[order], people[order])


def test_what_is_missing_is_counted():
    found = estimate([1.0, None, math.nan, 3.0], ["a", "a", "b", "b"])
    assert (found.value, found.n, found.missing, found.clusters) == (2, 2, 2, 2)
    one = estimate([1.0, 3.0], ["a", "a"])
    assert (one.value, one.low, one.high) == (2, None, None)
    assert estimate([None], ["a"]).value is None


def test_a_failed_cell_is_missing_from_its_methods_mean():
    found = summary(make_record(), "relight", "lcvd", "le")
    assert (found.n, found.missing) == (11, 1)


def test_holm_gives_the_textbooks_numbers():
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


def test_all_flips_of_few_identities_are_tried():
    # 2 of the 2**5 flips are as far from zero as the observed one.
    assert sign_flip([1.0, 2, 3, 4, 5], list("abcde")) == 2 / 32
    assert sign_flip([1.0, 2, 3, 4, 5], ["a"] * 5) == 1
    assert sign_flip([0.0, 0.0], ["a", "b"]) == 1


def test_flips_of_many_identities_agree_with_a_t_test():
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(2).normal(0.3, 1, 60)
    assert sign_flip(values, [str(n) for n in range(60)]) == pytest.approx(
        ttest_1samp(values, 0).pvalue, abs=0.01
    )


def test_tests_are_paired_by_case_and_corrected_together():
    tests = paired_tests(make_record(clips=12, identities=12))
    assert len(tests) == 3 * 3  # pairs of methods, clip metrics
    light = next(t for t in tests if (t.metric, t.first, t.second) == ("le", "copy", "lcvd"))
    assert light.difference.n == 23  # one of the 24 cases failed
    assert light.difference.value > 0.1
    assert light.p < light.adjusted < 0.05
    lpips = next(t for t in tests if (t.metric, t.first) == ("lpips_adjacent", "copy"))
    assert lpips.adjusted > 0.05


def test_votes_become_columns_of_the_records_own_methods():
    cells = [StudyCell(m, m, "clip", "left", "a.mp4", "b.mp4") for m in ("copy", "gone")]
    votes = Votes({VoteKey(who, m, "light"): 4 for who in "ab" for m in ("copy", "gone")})
    (found,) = opinions(summarise(cells, votes), {"copy"})
    assert (found.method, found.question, found.value) == ("copy", QUESTIONS[0].column, 4)
    assert (found.low, found.high, found.votes, found.raters) == (4, 4, 2, 2)


def test_the_published_table_is_that_of_the_paper():
    assert TABLES["hdtf"].rows["LCVD"]["FVD"] == "273.3"
    assert len(TABLES["hdtf"].rows) == 6
    assert TABLES["ablation-adapters"].rows["shading only"]["ID"] == "0.028"


def _moved(record: Record, by: float, metric: str = "le") -> Record:
    cells = tuple(
        cell.model_copy(update={"values": cell.values | {metric: cell.values[metric] + by}})
        if cell.values
        else cell
        for cell in record.cells
    )
    return record.model_copy(update={"cells": cells})


def _verdict(before: Record, after: Record, metric: str = "le") -> str:
    changes = compare(before, after).changes
    return next(c.verdict for c in changes if (c.method, c.metric) == ("copy", metric))


@pytest.mark.parametrize(
    ("by", "verdict"), [(0, "same"), (0.2, "worse"), (-0.2, "better"), (1e-9, "same")]
)
def test_a_change_of_light_error_is_judged_by_its_sign_and_size(by, verdict):
    record = make_record()
    assert _verdict(record, _moved(record, by)) == verdict


def test_likeness_is_worse_where_it_is_less():
    record = make_record()
    assert _verdict(record, _moved(record, -0.2, "id"), "id") == "worse"


def test_other_numbers_of_the_same_kind_are_no_regression():
    before, after = (make_record(clips=20, identities=10, seed=seed) for seed in (0, 1))
    assert _verdict(before, after) == "same"


@pytest.mark.parametrize(("value", "verdict"), [(50.0, "same"), (55.0, "same"), (70, "worse")])
def test_a_set_value_is_judged_by_the_previous_interval(value, verdict):
    before = make_record()
    sets = tuple(each.model_copy(update={"value": value}) for each in before.sets)
    assert _verdict(before, before.model_copy(update={"sets": sets}), "fid") == verdict


def test_another_estimator_is_not_judged():
    before = make_record()
    metrics = tuple(m.model_copy(update={"estimator": "another"}) for m in before.metrics)
    comparison = compare(before, _moved(before, 9).model_copy(update={"metrics": metrics}))
    assert {change.verdict for change in comparison.changes} == {"unjudged"}
    assert not comparison.regressed


def test_a_cell_that_is_no_longer_done_is_a_regression():
    before = make_record()
    torn = before.cells[0].model_copy(
        update={"outcome": "failed", "reason": "it hung", "values": {}}
    )
    after = before.model_copy(update={"cells": (torn, *before.cells[1:])})
    comparison = compare(before, after)
    assert comparison.lost == ("copy on Clip 000 under left: it hung",)
    assert comparison.regressed


def test_an_interval_goes_no_further_than_the_metric_can():
    record = make_record(clips=2, identities=2)
    values = {cell.id: 0.99 - 0.9 * (cell.clip == "clip-000") for cell in record.cells}
    cells = [
        cell.model_copy(update={"values": {"le": values[cell.id], "id": values[cell.id]}})
        for cell in record.cells
    ]
    spread = record.model_copy(update={"cells": tuple(cells)})
    error, likeness = (summary(spread, "relight", "copy", name) for name in ("le", "id"))
    assert error.low == 0
    assert error.high > 2
    assert (likeness.low, likeness.high) == (-1, 1)
