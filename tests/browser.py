"""A page in Debian's chromium, headless: a picture of it, and what it measured."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_PROBE = """
<script>
addEventListener("load", () => {
  const images = [...document.images];
  const out = document.createElement("script");
  out.type = "application/json";
  out.id = "measured";
  out.textContent = JSON.stringify({
    scroll_width: document.documentElement.scrollWidth,
    articles: document.querySelectorAll("article").length,
    broken_images: images.filter((image) => image.complete && !image.naturalWidth).length,
  });
  document.body.append(out);
});
</script>
"""


@dataclass(frozen=True)
class Page:
    """What a browser measured of a page (pixels, numbers of elements)."""

    scroll_width: int
    articles: int
    broken_images: int


def screenshot(page: Path, picture: Path, width: int, height: int = 1600) -> Page:
    """Open a local page at a width, take its picture, and measure it; skips without chromium."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("needs Debian's chromium, which is not installed here")
    with TemporaryDirectory() as folder:
        # Chromium's window is never narrower than 500 px, so a frame of the width asked for
        # stands in for a phone.
        probed = Path(folder) / "page.html"
        probed.write_text(page.read_text() + _PROBE)
        frame = Path(folder) / "frame.html"
        frame.write_text(
            "<body style='margin:0'>"
            f"<iframe src='page.html' style='border:0;width:{width}px;height:{height}px'></iframe>"
            "<script>addEventListener('load', () => { setTimeout(() => {"
            "document.body.append(document.querySelector('iframe').contentDocument"
            ".querySelector('#measured').cloneNode(true)) }, 300) })</script>"
        )
        options = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            "--allow-file-access-from-files",
            f"--user-data-dir={folder}/profile",
            f"--window-size={max(width, 500)},{height}",
            "--virtual-time-budget=5000",
        ]
        run = [browser, *options, f"--screenshot={picture}", frame.as_uri()]
        subprocess.run(run, capture_output=True, check=True, timeout=120)
        run = [browser, *options, "--dump-dom", frame.as_uri()]
        done = subprocess.run(run, capture_output=True, check=True, timeout=120, text=True)
    found = re.search(r'id="measured"[^>]*>(.*?)</script>', done.stdout)
    assert found, "the page did not load"
    return Page(**json.loads(unescape(found[1])))
