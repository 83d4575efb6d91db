"""Registries of weights that tests write themselves, and servers that serve them on loopback."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.weights import entries, fetch, store


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def toml_entry(name: str, *sources: str, file: str = "", **more: object) -> str:
    """An entry of a registry; ``sources`` are TOML tables without their braces."""
    keys = {"kind": "model", "purpose": "test", "unlocks": f"test.model = {name}"}
    keys |= {"file": file or f"{name}.bin", "licence": "Apache-2.0", "terms": "none", **more}
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    tables = ", ".join(f"{{ {source} }}" for source in sources)
    return "\n".join([f"[{name}]", *lines, f"sources = [{tables}]", ""])


class Registry:
    """A registry, and the cache and folder that go with it, all of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "built-in.toml"
        self.cache = folder / "cache"
        self.own = folder / "own"
        self.own.mkdir()
        self.path.write_text("")

    def add(self, name: str, *sources: str, file: str = "", **more: object) -> None:
        self.path.write_text(self.path.read_text() + toml_entry(name, *sources, file=file, **more))

    def kept(self) -> list[Path]:
        """Files in the cache that are of any consequence."""
        files = (path for path in self.cache.rglob("*") if path.is_file())
        return [path for path in files if path.suffix != ".lock" and path.parent.name != "known"]


@contextmanager
def own_registry(folder: Path) -> Iterator[Registry]:
    """The registry is the test's, and so are cache, own folder and memory."""
    registry = Registry(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "_BUILT_IN", registry.path)
        patch.setattr(store, "_verified", set())
        patch.setattr(fetch, "PAUSES", ())
        patch.setenv("LIMELIGHT_CACHE", str(registry.cache))
        patch.setenv("LIMELIGHT_WEIGHTS", str(registry.own))
        patch.delenv("LIMELIGHT_WEIGHTS_MIRROR", raising=False)
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield registry


@dataclass
class Site:
    """A web server on loopback that may be as bad as real ones are.

    Attributes:
        files: Body by path.
        url: Its address, without a slash at the end.
        ranges: Whether it knows ranges.
        conditions: Whether it looks at the condition of a range.
        etag: What it says that the file is; empty says nothing.
        silent_parts: Whether it says nothing of the file with a part of it.
        ends: Bytes of the file after which an answer with a part of it stops, as it says.
        cuts: Bytes after which the next answers break off.
        delay: Seconds before each answer.
        asked: Path and range of each request.
    """

    files: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    conditions: bool = True
    etag: str = '"one"'
    silent_parts: bool = False
    ends: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    delay: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            site.asked.append((self.path, wanted))
            site.stop.wait(site.delay)
            body = site.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            same = not site.conditions or self.headers.get("If-Range", site.etag) == site.etag
            start = int(wanted[6:-1]) if wanted and site.ranges and same else 0
            if start >= len(body) > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            size = len(body)
            if start:
                body = body[: site.ends.pop(0)] if site.ends else body
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{size}")
            if site.etag and not (start and site.silent_parts):
                self.send_header("ETag", site.etag)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            cut = site.cuts.pop(0) if site.cuts else len(body)
            with suppress(BrokenPipeError):  # who gave up, or was ended, reads no more
                self.wfile.write(body[start : start + cut])

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Site]:
    """A :class:`Site` that runs while the context lasts."""
    site = Site(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        site.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
