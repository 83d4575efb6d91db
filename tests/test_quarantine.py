"""Clips that are set aside are found, run in the open, retried, and dropped by hand."""

import pytest

import flows.quarantine
from catalog.members import read_recipe
from flows.quarantine import find, reproduce
from infra.errors import UsageError
from tests.fake_stages import chain, fake_build, write_clips


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path / "clips", ["one", "two", "reject this", "raise please"])


@pytest.fixture
def build(tmp_path, clips):
    build = fake_build(tmp_path / "lake", clips)
    build.all()
    return build


@pytest.fixture
def fake_chain(monkeypatch):
    """Lets a recipe's config stand for the fake chain of stages."""

    class Config:
        def stages(self):
            return chain()

    monkeypatch.setattr(flows.quarantine, "parse_config", lambda config, origin: Config())


def again(build, clips, **words):
    following = fake_build(build.lake.root, clips, **words)
    following.all()
    return following


def test_the_quarantined_clip_is_found_and_no_other(build):
    (entry,) = find(build.lake, "release")
    assert (entry.label, entry.outcome.stage) == ("clip-003.mp4", "frame")
    assert entry.row()["error"] == "ValueError"
    assert "I was told to" in entry.to_json()["stderr"]


def test_nothing_is_found_where_nothing_is_set_aside(tmp_path):
    clips = write_clips(tmp_path / "good", ["one"])
    build = fake_build(tmp_path / "other", clips)
    build.all()
    assert find(build.lake, "release") == []


def test_a_dropped_clip_is_rejected_and_its_stage_not_run_again(build, clips):
    (entry,) = find(build.lake, "release")
    build.lake.outcomes.append([entry.dropped()])
    assert find(build.lake, "release") == []
    # The stages before it died with the task, and are made up for; it itself is let be.
    assert again(build, clips).tally.computed() == {"probe": 1, "quality": 1}
    assert again(build, clips).tally.computed() == {}
    dropped = build.lake.outcomes.of([entry.outcome.clip], build.fingerprints)
    outcome = dropped[entry.outcome.clip]["frame"]
    assert outcome.status == "rejected"
    assert outcome.reason.startswith("dropped by hand after: frame raised an error")


def test_a_dropped_clip_is_tried_again_by_another_config(build, clips):
    (entry,) = find(build.lake, "release")
    build.lake.outcomes.append([entry.dropped()])
    again(build, clips, frame="other")
    assert [each.outcome.clip for each in find(build.lake, "release")] == [entry.outcome.clip]


def test_a_retried_clip_is_computed_again_and_alone(build, clips):
    (entry,) = find(build.lake, "release")
    build.lake.outcomes.void([entry.outcome])
    assert again(build, clips).tally.computed() == {"frame": 1}
    assert len(find(build.lake, "release")) == 1


def test_reproducing_raises_what_the_stage_raised_and_records_nothing(build, fake_chain):
    (entry,) = find(build.lake, "release")
    before = build.lake.outcomes.table.files()
    with pytest.raises(ValueError, match="I was told to"):
        list(reproduce(build.lake, "release", entry.outcome.clip[:8], "frame"))
    assert build.lake.outcomes.table.files() == before
    assert [path.name for path in (build.lake.root / "tmp").glob("reproduce-*")] == []


def test_reproducing_a_stage_runs_it_and_what_is_missing_before_it(build, fake_chain):
    member = next(m for m in build.members if m.label == "clip-000.mp4")
    (outcome,) = reproduce(build.lake, "release", member.clip, "quality")
    assert (outcome.stage, outcome.status, outcome.score) == ("quality", "done", 0.9)
    build.lake.outcomes.void(
        list(build.lake.outcomes.of([member.clip], build.fingerprints)[member.clip].values())
    )
    outcomes = list(reproduce(build.lake, "release", member.clip, "quality"))
    assert [outcome.stage for outcome in outcomes] == ["probe", "quality"]


def test_a_clip_that_was_moved_is_reproduced_where_it_is_now(build, clips, tmp_path, fake_chain):
    (entry,) = find(build.lake, "release")
    moved = tmp_path / "a-new-place"
    clips.rename(moved)
    again(build, moved)
    with pytest.raises(ValueError, match="I was told to"):
        list(reproduce(build.lake, "release", entry.outcome.clip, "frame"))


@pytest.mark.parametrize(
    ("clip", "stage", "words"),
    [
        ("", "frame", "4 clips of release begin with"),
        ("zz", "frame", "0 clips"),
        ("", "x", "no stage"),
    ],
)
def test_reproducing_what_there_is_not_is_refused(build, fake_chain, clip, stage, words):
    with pytest.raises(UsageError, match=words):
        list(reproduce(build.lake, "release", clip, stage))
    assert read_recipe(build.lake, "release").name == "release"
