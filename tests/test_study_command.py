"""`limelight study`: the page is served until Ctrl+C, then says what people said."""

import re
import threading

import pytest
from typer.testing import CliRunner

from catalog.lake import Lake
from evaluation.records.record import write_record
from evaluation.study.server import StudyServer
from flows.benchmarks import benchmark_folder
from flows.cli.app import app
from tests.benchmark_record import make_record
from tests.studies import METHODS, Client, make_study


@pytest.fixture
def lake(tmp_path):
    """A lake with a finished benchmark, ``bench``."""
    lake = Lake.open(tmp_path / "lake", create=True)
    folder = benchmark_folder(lake, "bench")
    folder.root.mkdir(parents=True)
    make_study(folder.root, frames=1, size=16)
    write_record(make_record(), folder.record)
    return lake


@pytest.fixture
def visits(monkeypatch):
    """Participants who come before Ctrl+C is pressed: functions of a `Client`."""
    coming = []
    serve = StudyServer.serve_forever

    def serve_them(server):
        thread = threading.Thread(target=serve, args=(server, 0.02))
        thread.start()
        try:
            for visit in coming:
                visit(Client(server.server_address[1]))
        finally:
            server.shutdown()
            thread.join()
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyServer, "serve_forever", serve_them)
    return coming


def _study(lake, run="bench", *more):
    words = ["study", str(run), "--lake", str(lake.root), "--port", "0", *more]
    return CliRunner().invoke(app, words)


def _rates(name, score):
    def visit(client):
        page = client.begin(name) + "/1"
        fields = re.findall(rb'name="([A-Z]\.\w+)" value="1"', client.ask(page)[2])
        client.send(page, {field.decode(): score for field in fields})

    return visit


def test_votes_are_taken_until_ctrl_c_and_summed_up(lake, visits):
    visits += [_rates("Ada", 2), _rates("Bo", 4)]
    done = _study(lake, "bench", "--trials", "1")
    assert done.exit_code == 0, done.output
    assert re.search(r"The study is at http://127\.0\.0\.1:\d+/ until", done.output)
    assert "Warning" not in done.output
    for method in METHODS:
        assert re.search(rf"{method} +3\.00 \(2\.00 to 4\.00\)", done.output)
    assert "18 votes of 2 people" in done.output
    assert "limelight benchmark report bench" in done.output


def test_a_run_is_known_by_its_folder_too(lake, visits):
    done = _study(lake, benchmark_folder(lake, "bench").root)
    assert done.exit_code == 0, done.output
    assert "Nobody has voted yet" in done.output


def test_who_opens_the_study_to_others_is_warned(lake, visits):
    done = _study(lake, "bench", "--host", "0.0.0.0")
    assert "Warning: all who can reach 0.0.0.0 can vote" in done.output


def test_a_study_goes_on_as_it_began(lake, visits):
    assert _study(lake, "bench", "--seed", "5").exit_code == 0
    assert _study(lake, "bench").exit_code == 0
    refused = _study(lake, "bench", "--seed", "6")
    assert "began with seed 5, not 6" in str(refused.exception)


def test_an_unknown_run_is_told_with_the_known_ones(lake, visits):
    refused = _study(lake, "bnech")
    assert "'bnech' is no benchmark" in str(refused.exception)
    assert "bench" in refused.exception.hint
