"""What a build is said to have come to: counters, the summary, and the report in Markdown."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.outcomes import Outcome
from catalog.verdicts import verdict
from flows.missing import State
from flows.reporting import markdown
from flows.summary import SHOWN, Summary, summarise
from flows.tally import Tally
from tests.fake_stages import fake_build, write_clips

STATUSES = ("", "done", "rejected", "failed", "quarantined")
SUMMARY = Summary(
    name="talk",
    version="0123456789ab",
    digest="0123456789abcdef",
    path="/lake/releases/talk/0123456789ab",
    clips=3,
    verdicts={"done": 1, "rejected": 2},
    computed={"probe": 3},
    stages=[{"stage": "probe", "done": 1, "rejected": 2}],
    turned_down=[{"label": "a.mp4", "verdict": "rejected", "stage": "probe", "reason": "no video"}],
    seconds=1.25,
)


def outcome(stage, status, **fields):
    return Outcome("c", stage, "f", status, **fields)


def test_a_tally_counts_outcomes_by_stage_and_status():
    tally = Tally()
    tally.expect(3)
    tally.add([outcome("probe", "done", frames=10, seconds=0.5), outcome("quality", "rejected")])
    tally.add([outcome("probe", "done", frames=20, seconds=0.25)])
    assert (tally.finished, tally.total) == (2, 3)
    assert tally.computed() == {"probe": 2, "quality": 1}
    probe, quality = tally.rows()
    assert (probe["done"], probe["frames"], probe["worker seconds"]) == (2, 30, 0.75)
    assert (quality["done"], quality["rejected"]) == (0, 1)


def test_outcomes_that_belong_to_no_task_are_counted_without_a_clip():
    tally = Tally()
    tally.add([outcome("probe", "failed")], clips=0)
    assert (tally.finished, tally.computed()) == (0, {"probe": 1})


def test_a_summary_counts_every_clip_and_names_those_not_kept(tmp_path):
    clips = write_clips(tmp_path / "clips", ["one", "reject this", "raise please"])
    build = fake_build(tmp_path / "lake", clips)
    summary = summarise(build, build.all(), 2.0)
    assert summary.verdicts == {"done": 1, "rejected": 1, "quarantined": 1}
    assert [(row["label"], row["verdict"], row["stage"]) for row in summary.turned_down] == [
        ("clip-001.mp4", "rejected", "quality"),
        ("clip-002.mp4", "quarantined", "frame"),
    ]
    assert "it says so itself" in summary.turned_down[0]["reason"]


def test_a_summary_names_the_first_of_many(tmp_path):
    clips = write_clips(tmp_path / "clips", [f"reject {n}" for n in range(SHOWN + 5)])
    build = fake_build(tmp_path / "lake", clips)
    summary = summarise(build, build.all(), 2.0)
    assert summary.verdicts == {"rejected": SHOWN + 5}
    assert len(summary.turned_down) == SHOWN
    assert summary.turned_down[0]["label"] == "clip-000.mp4"
    assert summary.version == ""


def test_a_build_that_was_cancelled_at_once_has_an_empty_summary(tmp_path):
    build = fake_build(tmp_path / "lake", tmp_path)
    assert summarise(build, None, 0.0).verdicts == {}


@given(st.lists(st.lists(st.sampled_from(range(5)), min_size=3, max_size=3), max_size=6))
def test_verdicts_of_many_are_those_of_each(rows):
    names = ("probe", "quality", "frame")
    codes = np.array(rows, np.uint8).reshape(-1, 3)
    state = State([str(n) for n in range(len(rows))], names, codes)
    one_by_one = [
        verdict(
            {n: outcome(n, STATUSES[code]) for n, code in zip(names, row, strict=True) if code},
            names,
        ).status
        for row in rows
    ]
    assert Counter(state.verdicts().tolist()) == Counter(one_by_one)
    assert state.verdicts().tolist() == one_by_one


def test_the_report_tells_the_release_the_verdicts_and_the_reasons():
    report = markdown(SUMMARY)
    assert "Release **0123456789ab**" in report
    assert "3 clips: 1 kept, 2 rejected, in 1.2 s." in report
    assert "| a.mp4 | rejected | probe | no video |" in report


def test_the_report_of_a_build_that_did_nothing_says_so():
    report = markdown(replace(SUMMARY, computed={}, stages=[], turned_down=[]))
    assert "Nothing had to be computed." in report
    assert "Not kept" not in report


@pytest.mark.parametrize(
    ("label", "cell"),
    [
        ("a|b.mp4", r"a\|b.mp4"),
        ("a\\|b.mp4", r"a\\\|b.mp4"),
        ("two\nlines\r.mp4", "two lines .mp4"),
        ("<img src=x>.mp4", r"\<img src=x\>.mp4"),
        ("![x](http://elsewhere/x.png)", r"!\[x\](http://elsewhere/x.png)"),
        ("snake_case.mp4", r"snake\_case.mp4"),
    ],
)
def test_a_clips_name_is_shown_in_the_report_and_never_obeyed(label, cell):
    turned_down = [{**SUMMARY.turned_down[0], "label": label}]
    report = markdown(replace(SUMMARY, turned_down=turned_down))
    assert f"| {cell} | rejected | probe | no video |" in report.splitlines()
