"""A build over a corpus of bad inputs finishes, and says of each one what became of it."""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.entries import local_uri
from catalog.lake import Lake
from catalog.verdicts import verdict
from flows.builder import Build, Request
from flows.config import BuildConfig
from infra.engine.open import open_engine
from infra.settings import load_settings
from tests.hostile import write_hostile_corpus
from tests.media import write_film


def snapshot(folder):
    """Every path below a folder, and when it last changed."""
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.ray
def test_each_hostile_input_ends_in_an_outcome_with_a_reason(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    film = write_film(tmp_path / "clip.mp4", frames=40)
    corpus = write_hostile_corpus(tmp_path / "corpus", film, sparse=1 << 28)
    lake = Lake.open(tmp_path / "lake", create=True)

    def engine():
        return open_engine("ray", load_settings(workers=2))

    # A list names them all: those too that a folder would leave out (hidden, not there).
    source = tmp_path / "corpus.parquet"
    uris = [local_uri(one.path) for one in corpus]
    pq.write_table(pa.table({"uri": uris}), source)
    before = snapshot(tmp_path)
    build = Build(lake, Request(str(source), "hostile", BuildConfig()), engine, "test")
    build.all()

    after = {
        path: at for path, at in snapshot(tmp_path).items() if not path.is_relative_to(lake.root)
    }
    before = {path: at for path, at in before.items() if not path.is_relative_to(lake.root)}
    assert after == before
    assert list(home.iterdir()) == []

    outcomes = lake.outcomes.of([m.clip for m in build.members], build.fingerprints)
    stages = list(build.fingerprints)
    ended = {}
    rows = lake.clips.rows([m.clip for m in build.members])
    for clip, uri in zip(rows["clip"].to_pylist(), rows["uri"].to_pylist(), strict=True):
        path = unquote_to_bytes(uri.removeprefix("file://"))
        ended[path] = verdict(outcomes[clip], stages)
    assert len(corpus) >= 80
    for one in corpus:
        status, stage, reason = ended[os.fsencode(one.path)]
        assert status in ("done", "rejected", "failed"), (one.name, status, reason)
        if status != "done":
            assert len(reason.split()) >= 3, (one.name, reason)
        if one.expected == {"accepted"}:
            # Good video without a face: turned down, but by a later stage than the probe.
            assert stage != "probe", (one.name, reason)


def test_what_a_clip_is_called_cannot_reach_the_report_as_markup(tmp_path):
    from evaluation.preview import write_preview

    folder = tmp_path / "clips"
    folder.mkdir()
    name = "<img src=x onerror=alert(1)>.mp4"
    Path(folder / name).write_text("no video")
    lake = Lake.open(tmp_path / "lake", create=True)
    request = Request(str(folder), "markup", BuildConfig())
    Build(lake, request, lambda: open_engine("inline"), "test").all()
    page = write_preview(lake, "markup", tmp_path / "page.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
