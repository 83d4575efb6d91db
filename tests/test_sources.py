import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.sources import Entry, list_source, local_copy
from infra.errors import SourceError, UsageError


def entries(source: Path | str, layout: str = "plain") -> list[Entry]:
    return list(list_source(str(source), layout))


def labels(source: Path | str, layout: str = "plain") -> list[str]:
    return [entry.label for entry in entries(source, layout)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.mp4",
        "a.MOV",
        "sub/c.webm",
        "notes.txt",
        "00001.png",
        ".hidden.mp4",
        ".d/e.mp4",
    ):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "clips"


def test_a_folder_lists_its_videos_in_order(folder: Path):
    assert labels(folder) == ["a.MOV", "b.mp4", "sub/c.webm"]
    first = entries(folder)[0]
    status = (folder / "a.MOV").stat()
    assert (first.size, first.mtime_ns, first.identity) == (5, status.st_mtime_ns, "a")
    assert first.uri == (folder / "a.MOV").as_uri()


def test_pictures_are_listed_for_the_layout_of_pictures_only(folder: Path):
    assert labels(folder, "ffhq") == ["00001.png"]


def test_a_file_named_directly_is_taken_whatever_its_suffix(folder: Path):
    assert labels(folder / "notes.txt") == ["notes.txt"]
    assert labels((folder / "notes.txt").as_uri()) == ["notes.txt"]


def test_a_glob_lists_what_it_matches(folder: Path):
    assert labels(f"{folder}/**/*.[mw]*") == ["b.mp4", "c.webm"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path):
    (tmp_path / "clip[1].mp4").touch()
    assert labels(tmp_path / "clip[1].mp4") == ["clip[1].mp4"]


def test_a_missing_source_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="does not exist"):
        entries(tmp_path / "nothing")


@pytest.mark.parametrize(
    "name",
    [b"a b.mp4", b"'\"; rm -rf .mp4", b"two\nlines.mp4", b"-dash.mp4", b"\xff\xfe.mp4", b"%41.mp4"],
)
def test_any_name_gives_an_ascii_uri_that_leads_back_to_the_file(tmp_path: Path, name: bytes):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.write_bytes(b"content")
    (entry,) = entries(tmp_path)
    assert entry.uri.isascii()
    assert entry.label.encode()
    assert local_copy(entry.uri, tmp_path) == path


def test_what_cannot_be_read_says_why(tmp_path: Path):
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "gone")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    found = {entry.label: entry.error for entry in entries(tmp_path)}
    assert found == {
        "dangling.mp4": "is a link that leads nowhere",
        "folder.mp4": "is a folder, not a file",
        "loop.mp4": "cannot be read: Too many levels of symbolic links",
        "pipe.mp4": "is a pipe, not a file",
    }
    for entry in entries(tmp_path):
        with pytest.raises(SourceError):
            local_copy(entry.uri, tmp_path)


def test_linked_folders_are_followed_once_and_never_in_circles(folder: Path):
    (folder / "again").symlink_to(folder / "sub")
    (folder / "sub" / "up").symlink_to(folder)
    assert labels(folder) == ["a.MOV", "again/c.webm", "b.mp4"]


def test_remote_sources_follow_the_same_rules(tmp_path: Path):
    memory = fsspec.filesystem("memory")
    for name in ("/clips/b ü%20.mp4", "/clips/sub/a.mp4", "/clips/notes.txt", "/clips/.x.mp4"):
        memory.pipe(name, name.encode())
    listed = entries("memory://clips")
    assert [entry.label for entry in listed] == ["b ü%20.mp4", "sub/a.mp4"]
    assert listed[0].uri == "memory:///clips/b%20%C3%BC%2520.mp4"
    assert listed[0].size == len("/clips/b ü%20.mp4".encode())
    assert labels("memory://clips/*.txt") == ["notes.txt"]
    copy = local_copy(listed[0].uri, tmp_path)
    assert copy.parent == tmp_path
    assert copy.read_bytes().decode() == "/clips/b ü%20.mp4"


def test_a_remote_file_that_is_gone_is_a_source_error(tmp_path: Path):
    with pytest.raises(SourceError, match="cannot be read"):
        local_copy("memory://nowhere/a.mp4", tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        entries("memory://nowhere")


def test_an_unknown_protocol_is_a_usage_error():
    with pytest.raises(UsageError, match="nope://x"):
        entries("nope://x")


def test_a_csv_list_gives_files_relative_to_itself(folder: Path):
    table = folder / "list.csv"
    table.write_text("path,identity\nsub/c.webm,carol\nb.mp4,\ngone.mp4,\nb.mp4,\n", "utf-8-sig")
    listed = entries(table)
    assert [(e.label, e.identity) for e in listed] == [
        ("sub/c.webm", "carol"),
        ("b.mp4", "b"),
        ("gone.mp4", "gone"),
    ]
    assert listed[1] == next(e for e in entries(folder) if e.label == "b.mp4")
    assert [bool(e.error) for e in listed] == [False, False, True]


def test_a_parquet_list_is_believed_about_size_and_time(tmp_path: Path):
    rows = {"uri": ["s3://bucket/x%20y.mp4"], "size": [7], "mtime_ns": [123]}
    pq.write_table(pa.table(rows), tmp_path / "list.parquet")
    (entry,) = entries(tmp_path / "list.parquet")
    assert (entry.uri, entry.label, entry.size, entry.mtime_ns) == (
        "s3://bucket/x%20y.mp4",
        "x y.mp4",
        7,
        123,
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,size\nx,1\n", "no column 'uri' or 'path'"),
        ("path,size,mtime_ns\nx,big,1\n", "size is 'big'"),
        ('path\n""\n', "neither uri nor path"),
        ("uri\nclip.mp4\n", "is no URI"),
    ],
)
def test_a_bad_list_is_a_usage_error(tmp_path: Path, text: str, match: str):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UsageError, match=match):
        entries(tmp_path / "list.csv")


def test_a_name_outside_the_layout_is_noted(folder: Path):
    assert "does not follow the layout vfhq" in entries(folder, "vfhq")[0].note
