import json
from pathlib import Path

import pytest

from catalog.clips import ClipRow
from catalog.entries import Entry
from catalog.lake import Lake
from infra.errors import LakeError


def row(clip: str, uri: str, **fields) -> ClipRow:
    fields = {"label": "a.mp4", "size": 3, "mtime_ns": 9, "layout": "plain", **fields}
    return ClipRow(clip, uri, identity="a", **fields)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "a lake's \"café", create=True)


def test_a_folder_that_is_no_lake_is_refused(tmp_path: Path):
    with pytest.raises(LakeError, match="is no lake"):
        Lake.open(tmp_path)
    (tmp_path / "letters.txt").touch()
    with pytest.raises(LakeError, match=r"holds other things \(letters.txt\)"):
        Lake.open(tmp_path, create=True)


def test_creating_twice_keeps_what_is_there(lake: Lake):
    lake.clips.append([row("a", "file:///a")])
    assert Lake.open(lake.root, create=True).clips.rows().num_rows == 1


def test_a_creation_that_was_interrupted_is_completed(lake: Lake):
    (lake.root / "lake.json").unlink()
    with pytest.raises(LakeError):
        Lake.open(lake.root)
    assert Lake.open(lake.root, create=True).root == lake.root


@pytest.mark.parametrize(
    ("text", "match"), [('{"format": 99}', "format 99"), ("torn", "cannot be understood")]
)
def test_a_lake_of_another_format_is_refused(lake: Lake, text: str, match: str):
    (lake.root / "lake.json").write_text(text)
    with pytest.raises(LakeError, match=match):
        Lake.open(lake.root)


def test_the_marker_states_the_format(lake: Lake):
    assert json.loads((lake.root / "lake.json").read_text()) == {"format": 1}


def test_a_per_cent_sign_in_the_path_is_refused(tmp_path: Path):
    with pytest.raises(LakeError, match="no '%'"):
        Lake.open(tmp_path / "100%25", create=True)


def test_known_matches_uri_size_and_mtime(lake: Lake):
    lake.clips.append([row("a" * 32, "file:///a"), row("b" * 32, "file:///b")])
    entries = [
        Entry("file:///a", "a", 3, 9),
        Entry("file:///b", "b", 4, 9),
        Entry("file:///c", "c", 3, 9),
    ]
    known = lake.clips.known(entries)
    assert {uri: row.clip for uri, row in known.items()} == {"file:///a": "a" * 32}
    assert lake.clips.known([Entry("file:///a", "a", 3, 8)]) == {}


def test_an_entry_without_mtime_is_never_known(lake: Lake):
    lake.clips.append([row("a", "http://a", mtime_ns=0)])
    assert lake.clips.known([Entry("http://a", "a", 3, 0)]) == {}


def test_a_known_row_comes_back_as_it_was_written(lake: Lake):
    written = row("a", "file:///a", frames=100, width=512, fps=25.0, codec="h264")
    lake.clips.append([written])
    assert lake.clips.known([Entry("file:///a", "a", 3, 9)]) == {"file:///a": written}


def test_known_ids_are_those_that_have_a_row(lake: Lake):
    lake.clips.append([row("a", "file:///a")])
    assert lake.clips.known_ids(["a", "b"]) == {"a"}


def test_scratch_files_of_a_run_can_be_discarded(lake: Lake):
    lake.scratch("run").mkdir(parents=True)
    (lake.scratch("run") / "file").touch()
    lake.discard_scratch("run")
    lake.discard_scratch("run")
    assert not lake.scratch("run").exists()


def test_rows_hold_one_line_per_clip_and_place(lake: Lake):
    lake.clips.append([row("a", "file:///a"), row("a", "file:///copy"), row("b", "file:///b")])
    lake.clips.append([row("a", "file:///a", label="renamed")])
    found = lake.clips.rows(["a"])
    assert found["uri"].to_pylist() == ["file:///a", "file:///copy"]
    assert found["label"].to_pylist() == ["renamed", "a.mp4"]
    assert lake.clips.rows().num_rows == 3
