"""Files written past the page cache."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.checkpoint import directfile
from training.checkpoint.directfile import DirectFile


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch):
    monkeypatch.setattr(directfile, "_ROOM", 8192)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 20_000), max_size=5))
def test_what_is_written_in_any_pieces_is_read(tmp_path_factory, lengths):
    path = tmp_path_factory.mktemp("file") / "data"
    pieces = [os.urandom(length) for length in lengths]
    with DirectFile(path) as file:
        for piece in pieces:
            file.write(piece)
        file.sync()
    assert path.read_bytes() == b"".join(pieces)


def test_a_file_that_is_there_already_is_left_alone(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        DirectFile(path)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("refused", ["open", "write"])
def test_a_file_system_that_cannot_write_directly_is_written_as_usual(
    tmp_path, monkeypatch, refused
):
    really, calls = getattr(os, refused), iter(range(100))

    def refuse(*arguments):
        if next(calls) == 0:
            raise OSError(errno.EINVAL, "no direct writing here")
        return really(*arguments)

    monkeypatch.setattr(os, refused, refuse)
    data = bytes(range(256)) * 40
    with DirectFile(tmp_path / "data") as file:
        file.write(data)
        file.sync()
    assert (tmp_path / "data").read_bytes() == data
    assert next(calls) > 1


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    with DirectFile(tmp_path / "data") as file:
        monkeypatch.setattr(os, "write", full)
        file.write(b"x")
        with pytest.raises(OSError, match="full"):
            file.sync()
