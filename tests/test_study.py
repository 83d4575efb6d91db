"""The rating study: who sees what, that no vote is lost, and what the votes come to."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.study.from_record import study_cells
from evaluation.study.plan import StudyCell, plan_trials, read_cells, williams, write_cells
from evaluation.study.session import Study
from evaluation.study.summary import krippendorff, summarise, summarise_study
from evaluation.study.votes import VoteKey, Votes, VoteStore, read_votes
from infra.errors import LakeError, UsageError
from tests.benchmark_record import make_record
from tests.studies import METHODS, cell, make_study


def _grid(methods: int, clips: int) -> list[StudyCell]:
    return [cell(f"m{m}", f"s{s}") for m in range(methods) for s in range(clips)]


@given(st.integers(1, 9))
def test_a_williams_square_balances_places_and_neighbours(n):
    rows = williams(n)
    places = Counter((place, thing) for row in rows for place, thing in enumerate(row))
    assert len(places) == n * n
    assert len(set(places.values())) == 1
    neighbours = Counter(pair for row in rows for pair in pairwise(row))
    assert len(neighbours) == n * (n - 1)
    assert len(set(neighbours.values())) <= 1


@settings(max_examples=40)
@given(
    methods=st.integers(1, 5),
    clips=st.integers(1, 8),
    trials=st.integers(1, 9),
    people=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_every_clip_is_seen_equally_often_and_every_method_everywhere(
    methods, clips, trials, people, seed
):
    cells = _grid(methods, clips)
    plans = [
        plan_trials(cells, seed=seed, participant=number, trials=trials) for number in range(people)
    ]
    for plan in plans:
        assert len({trial.reference for trial in plan}) == len(plan) == min(trials, clips)
        assert all(len({each.method for each in trial.cells}) == methods for trial in plan)
    seen = Counter(trial.reference for plan in plans for trial in plan)
    counts = [seen[f"videos/s{number}.mp4"] for number in range(clips)]
    assert max(counts) - min(counts) <= 1
    # Over as many participants as the square has rows, each method was everywhere equally often.
    rounds = len(williams(methods))
    whole = [plan_trials(cells, seed=seed, participant=number) for number in range(rounds)]
    places = Counter(
        (trial.reference, place, each.method)
        for plan in whole
        for trial in plan
        for place, each in enumerate(trial.cells)
    )
    assert set(places.values()) == {rounds // methods}


@given(st.integers(0, 99), st.integers(0, 50), st.randoms())
def test_a_plan_depends_on_seed_and_participant_alone(seed, number, order):
    cells = _grid(3, 4)
    mixed = order.sample(cells, len(cells))
    plan = plan_trials(cells, seed=seed, participant=number, trials=3)
    assert plan == plan_trials(mixed, seed=seed, participant=number, trials=3)


def test_a_method_without_a_film_leaves_its_place_to_the_others():
    cells = [each for each in _grid(3, 2) if (each.method, each.subject) != ("m1", "s0")]
    sizes = {
        trial.reference: len(trial.cells) for trial in plan_trials(cells, seed=1, participant=0)
    }
    assert sizes == {"videos/s0.mp4": 2, "videos/s1.mp4": 3}


def test_a_benchmark_of_which_nothing_can_be_rated_says_so(tmp_path):
    write_cells(tmp_path, [])
    with pytest.raises(UsageError, match="every method failed"):
        Study(tmp_path)
    assert not (tmp_path / "votes.jsonl").exists()
    with VoteStore(tmp_path / "votes.jsonl") as store:  # votes on films of an earlier run
        store.vote(VoteKey("Ada", "gone", "light"), 4)
    found = summarise_study(tmp_path)
    assert found is not None
    assert (found["votes"], found["strays"], found["methods"]) == (0, 1, {})


def test_light_is_asked_where_it_can_be_seen():
    assert [each.key for each in cell("m", "s").questions()] == ["light", "identity", "quality"]
    assert [each.key for each in cell("m", "s", picture=False).questions()] == [
        "identity",
        "quality",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"video": "../secret.mp4"}, "lies outside"),
        ({"video": "/etc/passwd"}, "lies outside"),
        ({"video": "study.json"}, "cannot be shown"),
        ({"reference": "videos/none.mp4"}, "missing"),
        ({"id": "1-subject-ant-light-sun"}, "twice"),
        ({"method": 3}, "must be text"),
    ],
)
def test_cells_that_cannot_be_shown_are_refused(tmp_path, change, said):
    cells = make_study(tmp_path, frames=1, size=16)
    assert read_cells(tmp_path) == tuple(cells)
    with pytest.raises(UsageError, match=said):
        write_cells(tmp_path, [replace(cells[0], **change), *cells[1:]])
    rows = json.loads((tmp_path / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps([rows[0] | change, *rows[1:]]))
    with pytest.raises(UsageError, match=said):
        read_cells(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"id": "a"}]'])
def test_a_list_of_cells_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UsageError):
        read_cells(tmp_path)
    (tmp_path / "study.json").unlink()
    with pytest.raises(UsageError, match="finished benchmark"):
        read_cells(tmp_path)


def test_a_vote_is_written_once_and_may_be_changed(tmp_path):
    key = VoteKey("Ada", "cell", "light")
    with VoteStore(tmp_path / "votes.jsonl") as store:
        assert store.vote(key, 4)
        size = store.path.stat().st_size
        assert not store.vote(key, 4)
        assert store.path.stat().st_size == size
        assert store.vote(key, 2)
        with pytest.raises(ValueError, match="score"):
            store.vote(key, 6)
    assert read_votes(store.path).scores == {key: 2}


def test_participants_keep_their_numbers(tmp_path):
    for _ in range(2):
        with VoteStore(tmp_path / "votes.jsonl") as store:
            assert [store.join(name) for name in ("Ada", "Bob", "Ada", "Eve")] == [0, 1, 0, 2]


def test_a_study_goes_on_as_it_began(tmp_path):
    with VoteStore(tmp_path / "votes.jsonl") as store:
        assert store.begin(seed=3, trials=5) == {"seed": 3, "trials": 5}
        with pytest.raises(UsageError, match="open in another study"):
            VoteStore(tmp_path / "votes.jsonl")
    with VoteStore(tmp_path / "votes.jsonl") as store:
        assert store.begin() == {"seed": 3, "trials": 5}
        with pytest.raises(UsageError, match="began with trials 5, not 6"):
            store.begin(trials=6)


def test_votes_torn_at_any_byte_lose_the_last_alone(tmp_path):
    path = tmp_path / "votes.jsonl"
    with VoteStore(path) as store:
        store.begin()
        store.join("Ada")
        for number in range(3):
            store.vote(VoteKey("Ada", f"cell {number}", "quality"), number + 1)
    whole, scores = path.read_bytes(), store.votes.scores
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        kept = dict(list(scores.items())[: 3 if end == len(whole) - 1 else 2])
        torn = [5] if last < end < len(whole) - 1 else []
        assert (read_votes(path).scores, read_votes(path).damaged) == (kept, torn)
        with VoteStore(path) as store:
            store.vote(VoteKey("Ada", "another", "quality"), 5)
        assert read_votes(path).scores == kept | {VoteKey("Ada", "another", "quality"): 5}
        assert read_votes(path).damaged == torn


@pytest.mark.parametrize("line", ["[]", "{}", '{"kind": "vote"}', "\0\0\0", "\ufffd{", "[" * 9999])
def test_lines_that_are_no_votes_are_passed_over_and_told(tmp_path, line):
    path = tmp_path / "votes.jsonl"
    with VoteStore(path) as store:
        store.join("Ada")
    path.write_text(f"{line}\n" + path.read_text())
    assert read_votes(path).damaged == [1]
    assert read_votes(path).participants == {"Ada": 0}


def test_a_full_disk_is_told_and_the_vote_does_not_count(tmp_path, monkeypatch):
    with VoteStore(tmp_path / "votes.jsonl") as store:
        first, second = (VoteKey("Ada", name, "light") for name in "ab")
        store.vote(first, 1)
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda file, data: write(file, data[:9]))
            with pytest.raises(LakeError, match="full"):
                store.vote(second, 2)
        assert store.votes.scores == {first: 1}
        store.vote(second, 3)
    assert read_votes(store.path).scores == {first: 1, second: 3}
    assert read_votes(store.path).damaged == [2]


VOTER = """
import sys
from pathlib import Path
from evaluation.study.votes import VoteKey, VoteStore
with VoteStore(Path(sys.argv[1])) as store:
    for number in range(100_000):
        store.vote(VoteKey("Ada", f"cell {len(store.votes.scores)}", "light"), number % 5 + 1)
        print(len(store.votes.scores), flush=True)
"""


def test_no_acknowledged_vote_is_lost_by_a_kill_at_any_moment(tmp_path):
    path = tmp_path / "votes.jsonl"
    for after in (1, 7, 40):
        before = len(read_votes(path).scores)
        voter = subprocess.Popen(
            [sys.executable, "-c", VOTER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert voter.stdout is not None
        said = [int(voter.stdout.readline()) for _ in range(after)]
        voter.send_signal(signal.SIGKILL)
        said += [int(line) for line in voter.stdout if line.endswith("\n")]
        voter.wait()
        kept = read_votes(path)
        assert said[0] == before + 1
        assert said[-1] <= len(kept.scores) <= said[-1] + 1
        assert {key.cell for key in kept.scores} == {f"cell {n}" for n in range(len(kept.scores))}
        assert not kept.damaged


def _votes(scores: dict[tuple[str, str, str], int]) -> Votes:
    return Votes(scores={VoteKey(*key): score for key, score in scores.items()})  # type: ignore[arg-type]


def test_a_summary_gives_means_with_what_they_stand_on():
    cells = _grid(2, 2)
    votes = _votes(
        {
            ("Ada", "m0-s0-light-sun", "light"): 5,
            ("Ada", "m0-s1-light-sun", "light"): 4,
            ("Bob", "m0-s0-light-sun", "light"): 3,
            ("Bob", "m1-s0-light-sun", "quality"): 2,
            ("Bob", "gone", "quality"): 1,
        }
    )
    found = summarise(cells, votes)
    assert (found["participants"], found["votes"], found["strays"]) == (2, 4, 1)
    light = found["methods"]["m0"]["light"]
    assert (light["mean"], light["n"], light["participants"]) == (4, 3, 2)
    assert light["interval"] == [3, 4.5]  # by participant: all of Bob, or all of Ada
    assert found["methods"]["m1"] == {
        "quality": {"mean": 2, "n": 1, "participants": 1, "interval": None}
    }
    assert "Ada" not in json.dumps(found, allow_nan=False)


@settings(max_examples=20)
@given(st.randoms())
def test_a_summary_does_not_depend_on_the_order_of_votes(order: random.Random):
    cells = _grid(2, 3)
    scores = {
        (name, each.id, "identity"): len(name + each.id) * row % 5 + 1
        for row, name in enumerate(["Ada", "Bob", "Eve"])
        for each in cells
    }
    mixed = dict(order.sample(list(scores.items()), len(scores)))
    assert summarise(cells, _votes(mixed)) == summarise(cells, _votes(scores))


def test_the_interval_covers_the_mean_opinion_as_often_as_it_says():
    """Participants differ from each other by more than their votes do: clusters matter."""
    rng, cells, covered = np.random.default_rng(5), _grid(1, 4), 0
    for trial in range(60):
        bias = rng.choice([-1, 0, 1], 20)
        scores = {
            (f"p{person}", each.id, "light"): int(3 + bias[person] + rng.choice([-1, 0, 1]))
            for person in range(20)
            for each in cells
        }
        low, high = summarise(cells, _votes(scores), seed=trial)["methods"]["m0"]["light"][
            "interval"
        ]
        covered += low <= 3 <= high
    assert covered >= 51  # of 600, 94% are covered; taking all votes as independent, 79%


def test_alpha_is_krippendorffs():
    # Krippendorff 2011, example D: four observers, twelve units, interval data: 0.849.
    observers = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    units = [
        [int(score) for score in unit if score != "."]
        for unit in zip(*(row.split() for row in observers), strict=True)
    ]
    assert krippendorff(units) == pytest.approx(0.849, abs=5e-4)
    assert krippendorff([[1, 1], [5, 5]]) == 1
    assert krippendorff([[3, 3], [3]]) is None
    assert krippendorff([[1], [2]]) is None


def test_a_run_without_votes_has_no_summary(tmp_path):
    assert summarise_study(tmp_path) is None
    cells = make_study(tmp_path, frames=1, size=16)
    assert summarise_study(tmp_path) is None
    with VoteStore(tmp_path / "votes.jsonl") as store:
        store.vote(VoteKey("Ada", cells[0].id, "light"), 4)
    found = summarise_study(tmp_path)
    assert found is not None
    assert found["methods"][METHODS[0]]["light"]["mean"] == 4


def test_what_a_benchmark_made_may_be_rated_and_nothing_else():
    record = make_record(videos=True)
    lights = [light.model_copy(update={"picture": "videos/left.png"}) for light in record.lights]
    record = record.model_copy(update={"lights": (lights[0], record.lights[1])})
    cells = {each.id: each for each in study_cells(record)}
    assert set(cells) == {each.id for each in record.cells if each.outcome == "done"}
    assert len(cells) == len(record.cells) - 1
    for done in record.cells[:2]:
        found = cells[done.id]
        assert (found.method, found.video) == (done.method, done.video)
        assert found.reference == record.clip(done.clip).video
    keys = {each.light: [asked.key for asked in each.questions()] for each in cells.values()}
    assert keys == {"left": ["light", "identity", "quality"], "right": ["identity", "quality"]}


def test_a_portrait_that_moves_is_held_against_the_portrait():
    record = make_record(videos=True)
    moved = record.cells[0].model_copy(
        update={"mode": "animate", "reference": record.clips[1].id, "light": ""}
    )
    (found,) = study_cells(record.model_copy(update={"cells": (moved,)}))
    assert found.reference == record.clips[1].video
    assert found.light_picture is None


def test_a_record_without_videos_has_nothing_to_be_rated():
    assert study_cells(make_record()) == []
