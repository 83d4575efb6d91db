"""The study's page over HTTP: real requests to a real server, and a real browser."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from urllib.parse import quote, unquote

import pytest

from evaluation.study.plan import read_cells
from evaluation.study.ranges import byte_range
from evaluation.study.server import StudyServer, serve_study
from evaluation.study.session import Study
from evaluation.study.votes import read_votes
from infra.errors import UsageError
from infra.faults import VARIABLE
from tests.devtools import browser_tab
from tests.studies import METHODS, SUBJECTS, Client, make_study, serving

FIELD = re.compile(rb'name="([A-Z]\.\w+)" value="1"')
MEDIA = re.compile(rb'src="(/media/\w+)"')


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished benchmark; each test begins without votes."""
    folder = tmp_path_factory.mktemp("run")
    make_study(folder)
    return folder


@pytest.fixture
def run(folder):
    (folder / "votes.jsonl").unlink(missing_ok=True)
    return folder


def _fields(client: Client, page: str) -> list[str]:
    return [name.decode() for name in FIELD.findall(client.ask(page)[2])]


def test_a_participant_rates_everything_stops_and_goes_on(run):
    with serving(run, seed=4) as client:
        home = client.begin("Ada")
        first = client.ask(home)[1]["Location"]
        assert first == f"{home}/1"
        fields = _fields(client, first)
        assert len(fields) == 9
        assert client.send(first, {fields[0]: 3})[0] == 204  # as a click does
        status, headers, _ = client.send(first, dict.fromkeys(fields, 4) | {"go": "next"})
        assert (status, headers["Location"]) == (303, f"{home}/2")
        assert client.send(f"{home}/2", {fields[1]: 2})[0] == 204
    with serving(run) as client:  # another day
        assert client.begin("  Ada ") == home
        assert client.ask(home)[1]["Location"] == f"{home}/2"
        page = client.ask(f"{home}/2")[2].decode()
        assert re.findall(r'name="(\S+)" value="(\d)" required checked', page) == [(fields[1], "2")]
        status, headers, _ = client.send(f"{home}/2", dict.fromkeys(fields, 5) | {"go": "next"})
        assert (status, headers["Location"]) == (303, home)
        assert b"Thank you, Ada" in client.ask(home)[2]
    scores = read_votes(run / "votes.jsonl").scores
    assert {key.cell for key in scores} == {cell.id for cell in read_cells(run)}
    assert sorted(scores.values()) == [4] * 9 + [5] * 9


def test_the_browser_gets_no_name_of_a_method_clip_or_file(run):
    with serving(run) as client:
        home = client.begin("Ada")
        client.ask("/")
        for page in (home, f"{home}/1", f"{home}/2", f"{home}/3", "/nothing"):
            for media in MEDIA.findall(client.ask(page)[2]):
                assert client.ask(media.decode())[0] == 200
        fields = _fields(client, f"{home}/1")
        for number in (1, 2):
            client.send(f"{home}/{number}", dict.fromkeys(fields, 1) | {"go": "next"})
        client.ask(home)
        names = [*METHODS, *SUBJECTS, "light-sun", str(run), run.name, "videos/", "study.json"]
        names += [cell.id for cell in read_cells(run)]
        assert len(client.got) > 100_000  # the films are in it
        for name in names:
            assert name.encode() not in client.got, name
        assert b"Last-Modified" not in client.got
        assert b"Python" not in client.got


def test_names_are_escaped_and_bad_ones_refused(run):
    with serving(run) as client:
        home = client.begin('<script>alert("1")</script>')
        page = client.ask(f"{home}/1")[2]
        assert b"<script>alert" not in page
        assert b"&lt;script&gt;alert" in page
        for bad in ("", "  ", "x" * 41, "a\0b", "\u202ename"):
            status, _, page = client.send("/", {"name": bad})
            assert (status, b"1 to 40 characters" in page) == (400, True), bad
        assert len(read_votes(run / "votes.jsonl").participants) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/../study.json",
        "/media/../../study.json",
        "/media/%2e%2e%2fstudy.json",
        "/media//etc/passwd",
        "/media/..\\study.json",
        "//etc/passwd",
        "/study.json",
        "/votes.jsonl",
        "/media/" + "0" * 24,
        "/p/" + "0" * 24,
        "/p/" + "0" * 24 + "/1",
        "/media/",
        "/" + "a" * 9000,
        "http://127.0.0.1/",
        "/?/../study.json/../x",
    ],
)
def test_no_path_leads_to_a_file_that_is_not_shown(run, path):
    with serving(run) as client:
        for each in (path, quote(path), unquote(path)):
            status, _, body = client.ask(each)
            assert status == 404 or (each[:2] == "/?" and status == 200)
            assert b"root:" not in body
            assert b"method-" not in body


def test_places_beyond_the_plan_are_not_found(run):
    with serving(run) as client:
        home = client.begin("Ada")
        for place in ("0", "3", "999999", "-1", "1/", "١", "1e0"):
            assert client.ask(f"{home}/{quote(place)}")[0] == 404
            assert client.send(f"{home}/{quote(place)}", {"A.light": 1})[0] == 404


def test_rebound_names_are_refused(run):
    with serving(run) as client:
        home = client.begin("Ada")
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "["):
            for path in ("/", f"{home}/1", "/media/" + "0" * 24):
                assert client.ask(path, Host=host)[0] == 421, host
            own = {"Host": host, "Origin": f"http://{host}"}
            assert client.send(f"{home}/1", {"A.light": 1}, **own)[0] == 421
        for host in ("localhost", "localhost:9000", "127.0.0.1", "[::1]:80"):  # by a tunnel
            assert client.ask("/", Host=host)[0] == 200
        assert not read_votes(run / "votes.jsonl").scores


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_votes_from_another_page_are_refused(run, headers):
    with serving(run) as client:
        home = client.begin("Ada")
        assert client.send(f"{home}/1", {"A.light": 1}, **headers)[0] == 403
        assert client.send("/", {"name": "Eve"}, **headers)[0] == 403
    votes = read_votes(run / "votes.jsonl")
    assert (votes.scores, list(votes.participants)) == ({}, ["Ada"])


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("A.light=6", {}, 400),
        ("A.light=1&B.light=x", {}, 400),
        ("A.light=", {}, 400),
        ("D.light=1", {}, 400),
        ("A.light=1&A.light=2", {}, 400),
        ("A.light=%ff", {}, 400),
        ("A.light", {}, 400),
        ("Ä=1", {}, 400),
        ('{"A.light": 1}', {"Content_Type": "application/json"}, 415),
        ("A.light=1" + "&x=1" * 9000, {}, 413),
        ("A.light=1", {"Content_Length": "x"}, 411),
        ("A.light=1", {"Content_Length": "-1"}, 411),
        ("A.light=1", {"Transfer_Encoding": "chunked"}, 411),
    ],
)
def test_forms_that_are_none_of_ours_change_nothing(run, body, headers, status):
    with serving(run) as client:
        page = f"{client.begin('Ada')}/1"
        own = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Content-Length": str(len(body.encode())),
            "Origin": f"http://127.0.0.1:{client.port}",
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
        connection.putrequest("POST", page)
        for name, value in own.items():
            connection.putheader(name, value)
        # What is refused by its head alone is not sent, lest the answer be lost to a reset.
        connection.endheaders(None if status in (411, 413) else body.encode())
        assert connection.getresponse().status == status
        connection.close()
        assert not read_votes(run / "votes.jsonl").scores


@pytest.mark.parametrize("said", [b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\xff\r\n\r\n"])
def test_requests_that_are_none_get_our_own_answer(run, said):
    with serving(run) as client, socket.create_connection(("127.0.0.1", client.port)) as line:
        line.sendall(said)
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert b"That is no request" in answer
    assert b"Python" not in answer


def test_every_answer_says_what_the_browser_must_not_do(run):
    with serving(run) as client:
        home = client.begin("Ada")
        media = MEDIA.findall(client.ask(f"{home}/1")[2])[0].decode()
        for path in ("/", home, f"{home}/1", media, "/nothing"):
            headers = client.ask(path)[1]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert headers["X-Frame-Options"] == "DENY"
        _, headers, page = client.ask(f"{home}/1")
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        nonce = re.findall(r"script-src 'nonce-(\S+)'", policy)[0]
        assert page.count(f'nonce="{nonce}"'.encode()) == 2
        assert nonce not in client.ask(f"{home}/1")[1]["Content-Security-Policy"]


def test_videos_come_in_the_parts_that_are_asked_for(run):
    with serving(run) as client:
        page = client.ask(f"{client.begin('Ada')}/1")[2]
        media = MEDIA.findall(page)[0].decode()
        status, headers, whole = client.ask(media)
        assert (status, headers["Content-Type"]) == (200, "video/mp4")
        assert whole in [path.read_bytes() for path in run.glob("videos/*.mp4")]
        size = len(whole)
        for asked, part in (
            ("bytes=0-99", whole[:100]),
            ("bytes=100-", whole[100:]),
            ("bytes=-7", whole[-7:]),
            (f"bytes=5-{10 * size}", whole[5:]),
        ):
            status, headers, body = client.ask(media, Range=asked)
            assert (status, body) == (206, part)
            start = whole.index(part)
            assert headers["Content-Range"] == f"bytes {start}-{start + len(part) - 1}/{size}"
        status, headers, _ = client.ask(media, Range=f"bytes={size}-")
        assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
        status, headers, body = client.ask(media, method="HEAD")
        assert (status, headers["Content-Length"], body) == (200, str(size), b"")


@pytest.mark.parametrize("header", [None, "", "bytes=", "bytes=-", "lines=1-2", "bytes=1-2,4-5"])
def test_ranges_that_we_do_not_know_give_the_whole(header):
    assert byte_range(header, 10) is None
    assert byte_range("bytes=5-2", 10) is None


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=-5", 0)])
def test_ranges_beyond_the_file_are_refused(header, size):
    with pytest.raises(ValueError, match=header):
        byte_range(header, size)


def test_a_film_that_went_away_is_not_found(tmp_path):
    make_study(tmp_path, frames=1, size=16)
    with serving(tmp_path) as client:
        page = client.ask(f"{client.begin('Ada')}/1")[2]
        for path in tmp_path.glob("videos/*.mp4"):
            path.unlink()
        assert client.ask(MEDIA.findall(page)[0].decode())[0] == 404


def test_a_full_disk_is_told_to_the_participant(run, monkeypatch):
    with serving(run) as client:
        home = client.begin("Ada")
        monkeypatch.setenv(VARIABLE, "enospc@votes.write.before")
        status, _, page = client.send(f"{home}/1", {"A.light": 1})
        assert (status, b"The disk did not take it" in page) == (507, True)
        monkeypatch.delenv(VARIABLE)
        assert client.send(f"{home}/1", {"A.light": 1})[0] == 204


SERVER = """
import sys
from pathlib import Path
from evaluation.study.server import serve_study
serve_study(Path(sys.argv[1]), port=0, said=lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize("point", ["votes.write.before", "votes.write.after", "votes.fsync.after"])
def test_a_server_killed_amid_a_vote_keeps_all_that_it_acknowledged(run, point):
    answered = 0
    for start in range(2):
        # The fifth line is the third vote: before it come the study and the participant.
        fault = {VARIABLE: f"kill@{point}#5"} if not start else {}
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(run)],
            env=os.environ | fault,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            client = Client(int(re.findall(r":(\d+)/", said)[0]))
            home = client.begin("Ada")
            kept = read_votes(run / "votes.jsonl")
            assert answered <= len(kept.scores) <= answered + 1
            assert not kept.damaged
            try:
                for field in _fields(client, f"{home}/1"):
                    assert client.send(f"{home}/1", {field: 3})[0] == 204
                    answered += 1
            except (OSError, http.client.HTTPException):
                assert server.wait(20) == -9
            assert answered == (2 if not start else 2 + 9)
        finally:
            server.kill()
            server.wait()
    assert len(read_votes(run / "votes.jsonl").scores) == 9


def test_what_the_user_reads_of_a_study(run, monkeypatch):
    monkeypatch.setattr(
        StudyServer, "serve_forever", lambda self: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    (run / "votes.jsonl").write_text("torn\n")
    said: list[str] = []
    serve_study(run, host="0.0.0.0", port=0, said=said.append)
    assert "line 1 of the votes" in said[0]
    assert said[1].startswith("Warning: all who can reach 0.0.0.0")
    assert "The study is at http://0.0.0.0:" in said[2]
    assert "Stopped" in said[3]
    quiet: list[str] = []
    serve_study(run, host="::1", port=0, trials=None, said=quiet.append)
    assert "http://[::1]:" in quiet[1]
    with pytest.raises(UsageError, match="0 trials"):
        serve_study(run, trials=0)


def test_a_port_that_is_taken_is_told(run):
    study = Study(run)
    with StudyServer(study, port=0) as server, pytest.raises(UsageError, match="--port"):
        StudyServer(study, port=server.server_address[1])
    with pytest.raises(UsageError, match="--port"):
        StudyServer(study, host="no such host")
    study.close()


def test_the_page_works_in_a_browser_by_keyboard_alone(run):
    with serving(run) as client, browser_tab() as tab:
        base = f"http://127.0.0.1:{client.port}"
        tab.open(f"{base}/", 1280)
        tab.do("Input.insertText", text="Ada")
        tab.press("Enter", 13)
        tab.wait("document.querySelectorAll('video').length == 4")
        for width in (1280, 400):
            tab.open(f"{base}{client.begin('Ada')}", width)
            assert tab.value("document.documentElement.scrollWidth") <= width
            assert tab.value("[...document.images].every((each) => each.naturalWidth)")
        # The films play, in step.
        tab.wait("films.every((film) => film.currentTime > 0.2 && !film.paused)")
        times = tab.value("films.map((film) => film.currentTime)")
        assert max(times) - min(times) < 0.1
        tab.wait("films[0].currentTime < 0.15")  # and begin again at their end
        # Tab leads from question to question, the arrows within one.
        tab.value("document.querySelector('#seek').focus()")
        for _ in range(9):
            tab.press("Tab", 9)
            tab.press("ArrowRight", 39)
            tab.press("ArrowRight", 39)
        tab.wait("document.querySelector('#status').textContent == 'All questions are answered'")
        tab.value("saved")
        assert list(read_votes(run / "votes.jsonl").scores.values()) == [3] * 9
        tab.press("Enter", 13)
        tab.wait("location.pathname.endsWith('/2') && document.readyState == 'complete'")
        # Where the server is gone, the page says so, and sends the rating again with the others.
        tab.value("window.fetch = () => Promise.reject(new Error())")
        tab.value("document.querySelector('[type=radio]').click()")
        tab.wait("document.querySelector('#status').textContent.includes('not be saved')")
        assert json.dumps(tab.errors) == "[]"
