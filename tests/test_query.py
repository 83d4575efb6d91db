from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.clips import ClipRow
from catalog.lake import Lake
from catalog.members import Member, Recipe, remember
from catalog.outcomes import Outcome
from catalog.query import VIEWS, query
from infra.errors import UsageError
from tests.releases import make_release, sample

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path / "it's a lake", create=True)
    lake.clips.append([ClipRow("a", "file:///a", "a.mp4", 1, 2, "plain", "a")])
    lake.clips.append([ClipRow("a", "file:///a", "a.mp4", 1, 3, "plain", "a")])
    for second, (clip, status) in enumerate(
        [("a", "failed"), ("a", "done"), ("b", "done"), ("b", "void"), ("c", "rejected")]
    ):
        when = MOMENT + timedelta(seconds=second)
        facts = {"frames": 7 + second}
        lake.outcomes.append([Outcome(clip, "probe", "p", status, facts=facts, finished_at=when)])
    lake.outcomes.append([Outcome("a", "quality", "q", "done", finished_at=MOMENT)])
    return lake


def answers(lake: Lake, sql: str) -> list[tuple]:
    return [tuple(row.values()) for row in query(lake, sql).to_pylist()]


def test_outcomes_are_those_that_count(lake: Lake):
    found = answers(lake, "select clip, stage, status from outcomes order by all")
    assert found == [("a", "probe", "done"), ("a", "quality", "done"), ("c", "probe", "rejected")]
    assert answers(lake, "select count(*) from outcomes_all") == [(6,)]


def test_facts_are_asked_as_json(lake: Lake):
    sql = "select (facts->>'$.frames')::int from OUTCOMES where clip = 'c'"
    assert answers(lake, sql) == [(11,)]


def test_clips_hold_one_row_per_place(lake: Lake):
    assert answers(lake, "select clip, mtime_ns from clips") == [("a", 3)]


def test_members_releases_and_samples_know_their_release(lake: Lake):
    recipe = Recipe("demo", "clips", {}, {"probe": "p"})
    remember(lake, recipe, [Member("a", "a.mp4", "a", "train")])
    first = make_release(lake.root, [sample(1)])
    second = make_release(lake.root, [sample(1), sample(2, **{"audio.m4a": b"x"})])
    other = make_release(lake.root, [sample(3)], name="other")
    assert answers(lake, "from members") == [("demo", "a", "a.mp4", "a", "train")]
    assert answers(lake, "select release, version, current, samples from releases") == [
        ("demo", first.version, False, 1),
        ("demo", second.version, True, 2),
        ("other", other.version, True, 1),
    ]
    sql = "select release, version, count(*), sum(audio_m4a_size) from samples group by all"
    found = sorted(answers(lake, sql))
    assert found == [("demo", second.version, 2, 1), ("other", other.version, 1, None)]


def test_tables_join(lake: Lake):
    done = "with done as (from outcomes where status = 'done') "
    sql = done + "select count(*) from done join clips using (clip)"
    assert answers(lake, sql) == [(2,)]


@pytest.mark.parametrize("name", VIEWS)
def test_every_table_can_be_asked_of_an_empty_lake(tmp_path: Path, name: str):
    assert query(Lake.open(tmp_path, create=True), f"from {name}").num_rows == 0


@pytest.mark.parametrize(
    "sql",
    [
        "selec 1",
        "select nothing from outcomes",
        "select * from nowhere",
        "",
        "select 1; select 2",
        "delete from clips",
        "create table x as select 1",
        "set enable_external_access = true",
        "copy (select 1) to '{file}'",
        "explain analyze copy (select 1) to '{file}'",
        "attach '{file}'",
        "install httpfs",
        "select * from read_text('/etc/hostname')",
        "from '/etc/hostname'",
        "select * from glob('/*')",
        "select * from lake",
    ],
)
def test_anything_but_a_question_to_the_catalog_is_refused(lake: Lake, tmp_path: Path, sql: str):
    target = tmp_path / "written"
    with pytest.raises(UsageError) as error:
        query(lake, sql.format(file=target))
    assert all(name in error.value.hint for name in VIEWS)
    assert not target.exists()
