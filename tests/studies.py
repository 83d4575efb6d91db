"""A small finished benchmark whose films can be rated, and a client that talks to its study."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import cv2

from evaluation.study.plan import StudyCell, write_cells
from evaluation.study.server import StudyServer
from evaluation.study.session import Study
from tests.media import picture_at, write_film

METHODS = ("method-zebra", "method-yak", "method-newt")
SUBJECTS = ("subject-ant", "subject-bee")


def cell(method: str, subject: str, light: str = "light-sun", *, picture: bool = True) -> StudyCell:
    """A cell whose files need not be there."""
    where = f"videos/{method}/{subject}-{light}.mp4"
    wanted = f"videos/{light}.png" if picture else None
    name = f"{METHODS.index(method) if method in METHODS else method}-{subject}-{light}"
    return StudyCell(name, method, subject, light, where, f"videos/{subject}.mp4", wanted)


def make_study(folder: Path, *, frames: int = 24, size: int = 96) -> list[StudyCell]:
    """Films of three methods for two clips under one light, and the list of their cells."""
    cells = [cell(method, subject) for subject in SUBJECTS for method in METHODS]
    for name in {name for each in cells for name in each.files()}:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            cv2.imwrite(str(path), picture_at(5, size, size))
        else:
            write_film(path, frames=frames, size=(size, size), options={"preset": "ultrafast"})
    write_cells(folder, cells)
    return cells


class Client:
    """A browser's requests, and all that came back.

    Attributes:
        got: Every status line, header and body so far, as one text of bytes.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.got = b""

    def ask(
        self, path: str, *, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; names of headers are written with `_` for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            data = answer.read()
            found = dict(answer.getheaders())
            self.got += b"%r %r " % (answer.reason, found) + data
            return answer.status, found, data
        finally:
            connection.close()

    def send(
        self, path: str, fields: dict[str, object], **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """A form, as the study's own page sends it."""
        own = {
            "Content_Type": "application/x-www-form-urlencoded",
            "Origin": f"http://127.0.0.1:{self.port}",
            "Sec_Fetch_Site": "same-origin",
        }
        return self.ask(path, method="POST", body=urlencode(fields), **own | headers)

    def begin(self, name: str) -> str:
        """Begin or go on; the path of the participant's page."""
        status, headers, _ = self.send("/", {"name": name})
        assert status == 303
        return headers["Location"]


@contextmanager
def serving(folder: Path, **options: int) -> Iterator[Client]:
    """A study's real server on a free port."""
    study = Study(folder, **options)
    with StudyServer(study, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Client(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
            study.close()
