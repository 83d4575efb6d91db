"""Debian's chromium, headless, driven as a person would: pages are looked at and typed into."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--remote-debugging-port=0", "--remote-allow-origins=*"),
)


class Tab:
    """A browser's tab, over the DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._last = socket, 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **options: Any) -> dict[str, Any]:
        """Send a command and await its answer; what the page complains of meanwhile is kept."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": options}))
        while True:
            said = json.loads(self._socket.recv(timeout=60))
            if said.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(said["params"]))
            if said.get("id") == self._last:
                assert "error" not in said, said
                return said["result"]

    def open(self, url: str, width: int, height: int = 900) -> None:
        """Show a page at a size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.do("Emulation.setDeviceMetricsOverride", **size)
        self.do("Page.navigate", url=url)
        self.wait("document.readyState == 'complete'")

    def value(self, expression: str) -> Any:
        """What an expression (or the promise that it gives) comes to in the page."""
        options = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.do("Runtime.evaluate", **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 30) -> None:
        """Until an expression is true in the page."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, f"not within {seconds} s: {expression}"
            time.sleep(0.02)

    def press(self, key: str, code: int) -> None:
        """Press and let go of a key, by its name and Windows' number."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.do(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text
            )

    def picture(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self.do("Page.captureScreenshot")["data"]))


@contextmanager
def browser_tab() -> Iterator[Tab]:
    """A fresh browser with one tab; skips without chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Debian's chromium, which is not installed here")
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = [program, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        browser = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = Path(folder) / "DevToolsActivePort"
            end = time.monotonic() + 60
            while not (port.exists() and port.read_text().count("\n")):
                assert browser.poll() is None, "chromium ended"
                assert time.monotonic() < end, "chromium does not start"
                time.sleep(0.05)
            with urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list") as answer:
                pages = [each for each in json.load(answer) if each["type"] == "page"]
            with connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Tab(socket)
        finally:
            browser.terminate()
            browser.wait()
