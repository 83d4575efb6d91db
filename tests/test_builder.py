"""A build computes what is missing and nothing else; its release depends on nothing else."""

import shlex

import pytest

import stages.ingest
from catalog.lake import Lake
from catalog.members import read_recipe
from catalog.release import Release
from flows.builder import patience
from flows.config import BuildConfig, SourceTable
from flows.rerun import Only, void_outcomes
from flows.stamp import MAX_FAILURES
from infra.engine.open import open_engine
from infra.errors import LakeError, SourceError, UsageError
from infra.settings import load_settings
from tests.fake_stages import IMPATIENT, chain, fake_build, write_clips

TEXTS = [f"clip number {number}" for number in range(10)] + ["reject this one"]


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path / "clips", TEXTS)


@pytest.fixture
def lake(tmp_path):
    return tmp_path / "lake"


def test_a_first_build_computes_every_stage_of_every_clip(lake, clips):
    build = fake_build(lake, clips)
    release = build.all()
    assert build.tally.computed() == {"probe": 11, "quality": 11, "frame": 10}
    assert release.index.num_rows == 10
    assert release.verify() == []


def test_a_second_build_computes_nothing_and_starts_no_engine(lake, clips):
    first = fake_build(lake, clips).all()

    def no_engine():
        raise AssertionError("an engine was started")

    second = fake_build(lake, clips, engine=no_engine)
    assert second.all().digest == first.digest
    assert second.tally.computed() == {}


def test_a_new_clip_is_all_that_the_next_build_computes(lake, clips):
    fake_build(lake, clips).all()
    (clips / "late.mp4").write_text("a late clip")
    build = fake_build(lake, clips)
    assert build.all().index.num_rows == 11
    assert build.tally.computed() == {"probe": 1, "quality": 1, "frame": 1}


def test_changing_a_stages_config_computes_it_and_what_rests_on_it(lake, clips):
    fake_build(lake, clips).all()
    build = fake_build(lake, clips, probe="other")
    build.all()
    assert build.tally.computed() == {"probe": 11, "quality": 11, "frame": 10}
    build = fake_build(lake, clips, frame="other")
    build.all()
    assert build.tally.computed() == {"frame": 10}


def test_going_back_to_an_earlier_config_computes_nothing(lake, clips):
    first = fake_build(lake, clips).all()
    fake_build(lake, clips, frame="other").all()
    back = fake_build(lake, clips)
    assert back.all().digest == first.digest
    assert back.tally.computed() == {}


def test_a_stage_that_only_waits_for_a_decision_is_not_computed_again_with_it(lake, clips):
    fake_build(lake, clips).all()
    build = fake_build(lake, clips, quality="other")
    build.all()
    assert build.tally.computed() == {"quality": 11}


def test_voiding_a_stage_computes_that_stage_alone(lake, clips):
    first = fake_build(lake, clips)
    digest = first.all().digest
    outcomes = first.lake.outcomes.of([m.clip for m in first.members], first.fingerprints)
    first.lake.outcomes.void([made["frame"] for made in outcomes.values() if "frame" in made])
    again = fake_build(lake, clips)
    assert again.all().digest == digest
    assert again.tally.computed() == {"frame": 10}


def test_copies_of_a_clip_are_one_member(lake, clips):
    (clips / "copy.mp4").write_text(TEXTS[0])
    build = fake_build(lake, clips)
    build.all()
    assert len(build.members) == 11
    assert build.tally.computed()["probe"] == 11


def test_a_clip_that_raises_is_quarantined_and_left_alone(lake, clips):
    (clips / "bad.mp4").write_text("raise please")
    build = fake_build(lake, clips)
    release = build.all()
    assert release.index.num_rows == 10
    (bad,) = quarantined(build)
    assert bad.stage == "frame"
    assert bad.error == "ValueError"
    assert "I was told to" in bad.reason
    assert bad.command.startswith("limelight quarantine reproduce release ")
    again = fake_build(lake, clips)
    again.all()
    assert again.tally.computed() == {}


def test_a_source_that_changes_under_way_is_not_taken_for_what_it_was(lake, clips):
    build = fake_build(lake, clips)
    build.take_up()
    (clips / "clip-003.mp4").write_text("something else altogether")
    (group,) = build.groups
    for part in build.partitions(group):
        build.compute(group, part)
    (changed,) = statuses(build, "failed")
    assert "its bytes have changed" in changed.reason
    again = fake_build(lake, clips)
    assert again.all().index.num_rows == 10
    assert statuses(again, "failed") == []


def test_an_unreadable_entry_ends_in_an_outcome(lake, clips):
    (clips / "loop.mp4").symlink_to("loop.mp4")
    build = fake_build(lake, clips)
    assert build.all().index.num_rows == 10
    rejected = statuses(build, "rejected")
    assert len(rejected) == 2
    assert any("link" in outcome.reason for outcome in rejected)


def test_a_build_without_any_kept_clip_has_no_release(lake, tmp_path):
    clips = write_clips(tmp_path / "none", ["reject a", "reject b"])
    assert fake_build(lake, clips).all() is None


def test_two_releases_share_a_lake(lake, clips, tmp_path):
    one = fake_build(lake, clips, name="one").all()
    other = write_clips(tmp_path / "other", ["only this"])
    two = fake_build(lake, other, name="two").all()
    assert (one.index.num_rows, two.index.num_rows) == (10, 1)
    assert Release.open(fake_build(lake, clips).lake, "one").digest == one.digest


def test_rerun_of_an_unknown_stage_is_refused(lake, clips):
    build = fake_build(lake, clips)
    build.all()
    recipe = read_recipe(build.lake, "release")
    with pytest.raises(UsageError, match="no stage is called 'mating'"):
        void_outcomes(build.lake, recipe, BuildConfig(), stage="mating", only=Only.ALL)


def test_identities_are_those_of_this_source_whatever_another_called_the_clip(lake, tmp_path):
    folder = write_clips(tmp_path / "clips", ["a clip"])
    named = folder / "Clip+abcdefghijk+P0+C1+F0-9.mp4"
    (folder / "clip-000.mp4").rename(named)
    plain = fake_build(lake, folder, name="plain")
    plain.all()
    assert [m.identity for m in plain.members] == [named.stem]
    source = SourceTable(layout="vfhq")
    config = BuildConfig(source=source)
    vfhq = fake_build(lake, folder, name="vfhq", config=config)
    vfhq.all()
    assert [m.identity for m in vfhq.members] == ["abcdefghijk"]
    assert vfhq.tally.computed() == {}


def test_an_unread_source_is_no_clip_until_it_is_read(lake, clips, monkeypatch):
    flaky = (clips / "clip-000.mp4").as_uri()
    read = stages.ingest.local_copy

    def local_copy(uri, scratch):
        if uri == flaky:
            raise SourceError("the store does not answer")
        return read(uri, scratch)

    with monkeypatch.context() as patch:
        patch.setattr(stages.ingest, "local_copy", local_copy)
        build = fake_build(lake, clips)
        build.all()
        (failed,) = statuses(build, "failed")
        # Its bytes can be had again by now; but nobody knows yet which clip they are.
        assert (failed.stage, failed.reason) == ("probe", "the store does not answer")
        assert build.tally.computed()["frame"] == 9
    again = fake_build(lake, clips)
    assert again.all().index.num_rows == 10
    assert again.tally.computed() == {"probe": 1, "quality": 1, "frame": 1}
    assert failed.clip not in {member.clip for member in again.members}


def test_a_source_that_fails_too_often_is_quarantined_until_it_is_retried(
    lake, tmp_path, monkeypatch
):
    clips = write_clips(tmp_path / "clips", ["one"])
    asked = []

    def local_copy(uri, scratch):
        asked.append(uri)
        raise SourceError("the store does not answer")

    monkeypatch.setattr(stages.ingest, "local_copy", local_copy)
    for number in range(MAX_FAILURES):
        fake_build(lake, clips).all()
        assert len(asked) == number + 1
    build = fake_build(lake, clips)
    build.all()
    assert len(asked) == MAX_FAILURES
    (outcome,) = quarantined(build)
    assert outcome.attempts == MAX_FAILURES
    build.lake.outcomes.void([outcome])
    fake_build(lake, clips).all()
    assert len(asked) == MAX_FAILURES + 1


def test_what_was_digested_before_an_interruption_is_not_digested_again(lake, clips, monkeypatch):
    digest = stages.ingest.clip_id
    digested = []

    def clip_id(path):
        if len(digested) == 4:
            raise LakeError("the lake is full")
        digested.append(path)
        return digest(path)

    monkeypatch.setattr(stages.ingest, "clip_id", clip_id)
    with pytest.raises(LakeError):
        fake_build(lake, clips).all()
    monkeypatch.setattr(stages.ingest, "clip_id", digest)
    seen = Lake(lake).clips.rows()["label"].to_pylist()
    assert sorted(seen) == [f"clip-00{n}.mp4" for n in range(4)]


def test_a_partition_that_is_tried_again_computes_only_what_is_left(lake, clips):
    build = fake_build(lake, clips)
    build.take_up()
    (group,) = build.groups
    (part,) = build.partitions(group)
    build.compute(group, part[:4])
    build.compute(group, part)
    build.compute(group, part)
    build.close()
    assert build.tally.computed() == {"probe": 11, "quality": 11, "frame": 10}
    assert build.tally.finished == build.tally.total == 11


def test_after_a_full_disk_no_other_partition_is_begun(lake, clips, monkeypatch):
    build = fake_build(lake, clips)
    build.take_up()
    (group,) = build.groups
    (part,) = build.partitions(group)

    def full(outcomes):
        raise LakeError("the lake is full")

    with monkeypatch.context() as patch:
        patch.setattr(build.lake.outcomes, "append", full)
        with pytest.raises(LakeError):
            build.compute(group, part[:2])
    build.compute(group, part[2:])
    build.close()
    assert build.tally.finished == 2


def test_the_command_that_reproduces_a_failure_survives_a_lake_with_spaces(tmp_path):
    clips = write_clips(tmp_path / "clips", ["raise please"])
    build = fake_build(tmp_path / "my lake", clips)
    build.all()
    (bad,) = quarantined(build)
    assert shlex.split(bad.command)[-1] == str(tmp_path / "my lake")


class FakeConfig:
    """Stands for a config whose stages are the fake ones."""

    def __init__(self, **words):
        self._words = words

    def stages(self):
        return chain(**self._words)


def test_a_rerun_voids_what_its_status_and_condition_pick(lake, clips):
    build = fake_build(lake, clips)
    build.all()
    recipe = read_recipe(build.lake, "release")

    def void(**asked):
        return void_outcomes(
            build.lake, recipe, FakeConfig(), **{"stage": "", "where": "", **asked}
        )

    where = "clip in (select clip from members where label = 'clip-003.mp4')"
    assert void(only=Only.FAILED) == 0
    assert void(only=Only.REJECTED, stage="frame") == 0
    assert void(only=Only.REJECTED, where="false") == 0
    assert void(only=Only.REJECTED) == 1
    assert void(only=Only.ALL, stage="frame", where=where) == 1
    again = fake_build(lake, clips)
    again.all()
    assert again.tally.computed() == {"quality": 1, "frame": 1}


def test_stale_outcomes_are_counted_and_have_nothing_for_a_condition_to_pick(lake, clips):
    build = fake_build(lake, clips)
    build.all()
    recipe = read_recipe(build.lake, "release")
    stale = {"only": Only.STALE, "stage": ""}
    assert void_outcomes(build.lake, recipe, FakeConfig(), **stale) == 0
    changed = FakeConfig(frame="other")
    assert void_outcomes(build.lake, recipe, changed, **stale) == 10
    assert void_outcomes(build.lake, recipe, changed, only=Only.STALE, stage="probe") == 0
    with pytest.raises(UsageError, match="--where picks among outcomes that count"):
        void_outcomes(build.lake, recipe, changed, **stale, where="true")


@pytest.mark.ray
def test_poisoned_clips_are_quarantined_and_the_release_is_that_of_one_worker_without_them(
    tmp_path, clips
):
    clean = fake_build(tmp_path / "clean", clips).all()  # by one worker, in this process
    misdeeds = ["raise", "segfault", "exit", "hang", "leak"]
    for misdeed in misdeeds:
        (clips / f"{misdeed}.mp4").write_text(f"{misdeed} now")

    def engine():
        return open_engine("ray", load_settings(workers=3))  # more than two cores

    build = fake_build(tmp_path / "lake", clips, engine=engine, config=IMPATIENT)
    release = build.all()
    assert (release.index.num_rows, release.digest) == (10, clean.digest)
    labels = {member.clip: member.label for member in build.members}
    found = {labels[outcome.clip].removesuffix(".mp4"): outcome for outcome in quarantined(build)}
    assert sorted(found) == sorted(misdeeds)
    assert {outcome.stage for outcome in found.values()} == {"frame"}
    assert found["raise"].error == "ValueError"
    assert found["segfault"].error == "SIGSEGV"
    assert "about to fall over" in found["segfault"].stderr
    assert found["exit"].error == "exit 3"
    assert "hung" in found["hang"].reason
    assert found["leak"].error == "MemoryError"
    assert all(outcome.attempts == 2 for outcome in found.values())


def test_models_that_are_slow_on_a_processor_are_given_time():
    quick, slow = BuildConfig(), BuildConfig(matting={"model": "u2net_human_seg"})
    spare = [
        patience([o for stage in each.stages() for o in stage.offers()], each.engine, 100)
        for each in (quick, slow)
    ]
    assert spare == [pytest.approx(220), pytest.approx(1020)]


def statuses(build, status):
    outcomes = build.lake.outcomes.of([m.clip for m in build.members], build.fingerprints)
    return [o for made in outcomes.values() for o in made.values() if o.status == status]


def quarantined(build):
    return statuses(build, "quarantined")
