"""The study's page over HTTP: few routes, on loopback, for the page's own requests alone.

There are no accounts, cookies or scripts from elsewhere. What a web page in the same browser might
try is refused: requests from another origin, and names that were rebound to this address.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from evaluation.pages import render_page
from evaluation.study import PORT
from evaluation.study.plan import MEDIA_TYPES
from evaluation.study.ranges import byte_range
from evaluation.study.session import NAME_LENGTH, Study, unfinished
from infra.errors import LakeError, UsageError

_MOST_BODY = 16_384
_CHUNK = 1 << 16
_SILENCE = 30
"""Seconds after which a connection that says nothing is closed."""

_TRIAL = re.compile(r"/p/([0-9a-f]{24})/(\d{1,6})", re.ASCII)
_PARTICIPANT = re.compile(r"/p/([0-9a-f]{24})", re.ASCII)
_MEDIA = re.compile(r"/media/([0-9a-f]{24})", re.ASCII)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not `no-referrer`: browsers would then hide the origin of the page's own forms.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class StudyServer(ThreadingHTTPServer):
    """A server of one study.

    Args:
        study: What is served.
        host: Address to listen at.
        port: 0 for any that is free.

    Raises:
        UsageError: The address or port cannot be had.
    """

    daemon_threads = True

    def __init__(self, study: Study, *, host: str = "127.0.0.1", port: int = PORT) -> None:
        self.study, self.host = study, host
        self.address_family = AF_INET6 if ":" in host else AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"the study cannot be served at {host}:{port}: {error}",
                hint="choose another with --port (0 takes any that is free)",
            ) from error

    @property
    def url(self) -> str:
        """Where the page is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ip_address(str(self.server_address[0])).is_loopback

    def knows(self, name: str) -> bool:
        """Whether a request may call this server so.

        A hostile page may let its own domain's name point here and be taken for the study's own
        page. Addresses and `localhost` cannot be had for that.
        """
        if name in ("localhost", self.host):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers drop connections as they like: no word of it."""


class _Handler(BaseHTTPRequestHandler):
    server: StudyServer
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE

    def version_string(self) -> str:
        return "limelight"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        with self._answering():
            if {"Content-Length", "Transfer-Encoding"} & set(self.headers):
                self.close_connection = True
                raise _RefusedError(HTTPStatus.BAD_REQUEST, "This request must have no body.")
            path = self._checked_path()
            if path == "/":
                self._page("begin", error="", most=NAME_LENGTH)
            elif found := _MEDIA.fullmatch(path):
                self._media(self.server.study.media[found[1]])
            elif found := _PARTICIPANT.fullmatch(path):
                self._go_on(found[1])
            elif found := _TRIAL.fullmatch(path):
                self._trial(found[1], int(found[2]) - 1)
            else:
                raise KeyError(path)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        # Until the body was read, the connection is of no more use.
        self.close_connection = True
        with self._answering():
            body = self._body()
            self.close_connection = False
            path = self._checked_path()
            self._check_origin()
            fields = self._form(body)
            if path == "/":
                self._begin(fields.get("name", ""))
            elif found := _TRIAL.fullmatch(path):
                self._rate(found[1], int(found[2]) - 1, fields)
            else:
                raise KeyError(path)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        # What the base class cannot parse or has no method for, in our words and headers.
        self.close_connection = True
        self._page("said", HTTPStatus(code), title="Not possible", message="That is no request.")

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except _RefusedError as refused:
            self._page("said", refused.status, title="Not possible", message=refused.message)
        except KeyError:
            self._page(
                "said",
                HTTPStatus.NOT_FOUND,
                title="Not found",
                message="There is nothing here. Begin at the first page.",
            )
        except (LakeError, OSError) as error:
            if isinstance(error, ConnectionError | TimeoutError):
                self.close_connection = True
                return
            self._page(
                "said",
                HTTPStatus.INSUFFICIENT_STORAGE,
                title="Not saved",
                message="The disk did not take it. Tell who runs the study, and try again.",
            )

    def _begin(self, name: str) -> None:
        try:
            token = self.server.study.join(name)
        except ValueError as error:
            status = HTTPStatus.BAD_REQUEST
            self._page("begin", status, error=str(error), most=NAME_LENGTH)
            return
        self._redirect(f"/p/{token}")

    def _go_on(self, token: str) -> None:
        """To the first trial with an open question; to a word of thanks where there is none."""
        screens = self.server.study.screens(token)
        place = unfinished(screens)
        if place is not None:
            self._redirect(f"/p/{token}/{place + 1}")
            return
        self._page(
            "thanks", name=self.server.study.name(token), back=f"/p/{token}/1", total=len(screens)
        )

    def _trial(self, token: str, place: int) -> None:
        screens = self.server.study.screens(token)
        if place not in range(len(screens)):
            raise KeyError(place)
        self._page("trial", screen=screens[place], token=token, name=self.server.study.name(token))

    def _rate(self, token: str, place: int, fields: dict[str, str]) -> None:
        go = fields.pop("go", "")
        try:
            self.server.study.rate(token, place, fields)
        except ValueError as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
        if not go:
            self._head(HTTPStatus.NO_CONTENT, {})
        elif place + 1 < len(self.server.study.screens(token)):
            self._redirect(f"/p/{token}/{place + 2}")
        else:
            self._redirect(f"/p/{token}")

    def _checked_path(self) -> str:
        """The request's path, once it calls this server by a name that is its own."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not self.server.knows(_host_name(hosts[0])):
            raise _RefusedError(
                HTTPStatus.MISDIRECTED_REQUEST, "This server goes by its address or as localhost."
            )
        return self.path.partition("?")[0]

    def _check_origin(self) -> None:
        """Only the study's own pages may send anything."""
        origin = urlsplit(self.headers.get("Origin", ""))
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        if origin.netloc != self.headers["Host"] or site != "same-origin":
            raise _RefusedError(
                HTTPStatus.FORBIDDEN, "Ratings are taken from the study's page alone."
            )

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,18}", length, re.ASCII) or "Transfer-Encoding" in self.headers:
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "The length of the request is missing.")
        if int(length) > _MOST_BODY:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large.")
        return self.rfile.read(int(length))

    def _form(self, body: bytes) -> dict[str, str]:
        if self.headers.get_content_type() != "application/x-www-form-urlencoded":
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The request is no form.")
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict"
            )
        except ValueError as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "The form cannot be understood.") from error
        if len(dict(pairs)) != len(pairs):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "The form says one thing twice.")
        return dict(pairs)

    def _media(self, path: Path) -> None:
        try:
            file = path.open("rb")
        except OSError as error:
            raise KeyError(path) from error
        with file:
            size = file.seek(0, 2)
            try:
                wanted = byte_range(self.headers.get("Range"), size)
            except ValueError:
                status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                self._head(status, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
                return
            part = range(size) if wanted is None else wanted
            headers = {
                "Content-Type": MEDIA_TYPES[path.suffix],
                "Content-Length": str(len(part)),
                "Accept-Ranges": "bytes",
            }
            if wanted is not None:
                headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
            status = HTTPStatus.OK if wanted is None else HTTPStatus.PARTIAL_CONTENT
            self._head(status, headers)
            if self.command == "HEAD":
                return
            file.seek(part.start)
            left = len(part)
            with suppress(OSError):  # the browser has seen enough, or the disk fails
                while left and (data := file.read(min(_CHUNK, left))):
                    self.wfile.write(data)
                    left -= len(data)
            # What was promised and not sent must not be taken from the next answer.
            self.close_connection |= left > 0

    def _page(self, template: str, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> None:
        nonce = secrets.token_urlsafe(16)
        text = render_page(f"study/{template}.html.j2", nonce=nonce, **values).encode()
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}';"
            " img-src 'self' data:; media-src 'self'; connect-src 'self'; form-action 'self';"
            " base-uri 'none'; frame-ancestors 'none'"
        )
        self._head(
            status,
            {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Length": str(len(text)),
                "Content-Security-Policy": policy,
            },
        )
        if self.command != "HEAD":
            self.wfile.write(text)

    def _redirect(self, where: str) -> None:
        self._head(HTTPStatus.SEE_OTHER, {"Location": where, "Content-Length": "0"})

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (_HEADERS | headers).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


def _host_name(host: str) -> str:
    """Of a `Host` header, without its port; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def serve_study(
    run_folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    seed: int | None = None,
    trials: int | None = None,
    said: Callable[[str], None] = print,
) -> None:
    """Serve a study until it is interrupted.

    Args:
        run_folder: Of the finished benchmark, with its `plan.CELLS_FILE`; the votes go there.
        host: Address to listen at; other machines can reach any but a loopback address.
        port: 0 takes any that is free.
        seed: Of the plan; what the study began with (0 for a new one) without.
        trials: Clips under a light that each participant rates; what it began with (all) without.
        said: Takes what the user should read, line by line: the page's address, warnings.

    Raises:
        UsageError: There is nothing to rate, the study is being served already, it began with
            another seed or number of trials, or the port is taken.
        LakeError: The run folder cannot be written.
    """
    if trials is not None and trials < 1:
        raise UsageError(f"{trials} trials cannot be shown; allowed are 1 and more")
    study = Study(run_folder, seed=seed, trials=trials)
    try:
        with StudyServer(study, host=host, port=port) as server:
            if study.damaged:
                lines = ", ".join(map(str, study.damaged))
                said(f"Torn by a crash, and passed over: line {lines} of the votes.")
            if not server.loopback:
                said(f"Warning: all who can reach {host} can vote, under any name, unencrypted.")
            said(f"The study is at {server.url} until you press Ctrl+C.")
            server.serve_forever()
    except KeyboardInterrupt:
        said("Stopped. All votes are saved; the same command goes on.")
    finally:
        study.close()
