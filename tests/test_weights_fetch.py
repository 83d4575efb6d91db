"""Pulling weights over HTTP, from a server on loopback that is as bad as real ones are."""

import errno
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import fsspec
import httpx
import numpy as np
import pytest

from infra import weights
from infra.errors import WeightsError
from infra.weights import entries, fetch
from infra.weights.archives import extract_member
from tests.weights_registry import Registry, Site, own_registry, serve, sha256, toml_entry

BODY = bytes(range(256)) * 4096  # 1 MiB
HALF = len(BODY) // 2


@pytest.fixture
def registry(tmp_path):
    with own_registry(tmp_path) as registry:
        yield registry


@pytest.fixture
def site():
    with serve({"/net.bin": BODY}) as site:
        yield site


@pytest.fixture
def net(registry: Registry, site: Site) -> Registry:
    """A weight whose publisher names no digest."""
    registry.add("net", f'url = "{site.url}/net.bin"')
    return registry


def test_a_pulled_weight_is_whole_and_pinned(net, site):
    told = []
    path = weights.pull("net", lambda *words: told.append(words))
    assert path.read_bytes() == BODY
    assert weights.weight_digest("net") == sha256(BODY)
    assert told[0] == ("downloading net.bin", 0, len(BODY))
    assert ("downloading net.bin", len(BODY), len(BODY)) in told
    assert not list((net.cache / "weights/partial").rglob("net*"))


def test_a_pulled_weight_is_not_asked_for_again(net, site):
    assert weights.pull("net") == weights.pull("net") == weights.weight_path("net")
    assert len(site.asked) == 1


def test_many_at_once_download_once(net, site):
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(weights.pull, ["net"] * 8))
    assert len(paths) == 1
    assert len(site.asked) == 1


def test_a_broken_download_is_gone_on_with_in_the_same_run(net, site, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSES", (0.0,))
    site.cuts = [HALF]
    assert weights.pull("net").read_bytes() == BODY
    assert [wanted for _, wanted in site.asked] == ["", f"bytes={HALF}-"]


def test_a_broken_download_is_gone_on_with_in_a_later_run(net, site):
    site.cuts = [HALF]
    with pytest.raises(WeightsError, match="broke off") as error:
        weights.pull("net")
    assert "takes up where it broke off" in error.value.hint
    assert weights.verify("net").state == "absent"
    assert weights.pull("net").read_bytes() == BODY
    assert site.asked[-1] == ("/net.bin", f"bytes={HALF}-")


def test_a_server_without_ranges_is_read_from_the_start(net, site, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSES", (0.0,))
    site.ranges, site.cuts = False, [HALF]
    assert weights.pull("net").read_bytes() == BODY


@pytest.mark.parametrize("conditions", [True, False])
def test_parts_of_two_files_are_never_put_together(net, site, monkeypatch, conditions):
    site.conditions, site.cuts = conditions, [HALF]
    with pytest.raises(WeightsError):
        weights.pull("net")
    monkeypatch.setattr(fetch, "PAUSES", (0.0,))
    site.etag, site.files["/net.bin"] = '"two"', BODY[::-1]
    assert weights.pull("net").read_bytes() == BODY[::-1]


def test_without_a_mark_of_the_file_a_part_is_worth_nothing(net, site):
    site.etag, site.cuts = "", [HALF]
    with pytest.raises(WeightsError):
        weights.pull("net")
    assert weights.pull("net").read_bytes() == BODY
    assert site.asked[-1] == ("/net.bin", "")


def test_a_part_without_a_mark_is_not_put_to_another_part(net, site, monkeypatch):
    site.conditions, site.silent_parts, site.cuts = False, True, [HALF]
    with pytest.raises(WeightsError):
        weights.pull("net")
    monkeypatch.setattr(fetch, "PAUSES", (0.0,))
    site.etag, site.files["/net.bin"] = '"two"', BODY[::-1]
    assert weights.pull("net").read_bytes() == BODY[::-1]


def test_a_part_that_stops_short_is_not_taken_for_the_whole(net, site, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSES", (0.0, 0.0))
    site.cuts, site.ends = [HALF], [HALF + 1000]
    assert weights.pull("net").read_bytes() == BODY
    assert [wanted for _, wanted in site.asked] == ["", f"bytes={HALF}-", f"bytes={HALF + 1000}-"]


def test_a_shorter_file_as_long_as_the_part_is_not_taken_for_the_whole(registry, site, monkeypatch):
    site.cuts = [HALF]
    partial = registry.cache / "net.bin"
    with pytest.raises(WeightsError, match="broke off"):
        fetch.download(f"{site.url}/net.bin", partial)
    monkeypatch.setattr(fetch, "PAUSES", (0.0,))
    site.files["/net.bin"] = BODY[::-1][HALF:]
    fetch.download(f"{site.url}/net.bin", partial)
    assert partial.read_bytes() == BODY[::-1][HALF:]


@pytest.mark.parametrize("told", [True, False])
def test_no_more_is_taken_than_the_file_may_have(site, registry, told):
    address = f"{site.url}/net.bin"
    if not told:
        (registry.own / "net.bin").write_bytes(BODY)
        address = (registry.own / "net.bin").as_uri()
    taken = []
    registry.add("net", f'url = "{address}"', size=10, sha256="0" * 64)
    with pytest.raises(WeightsError, match="more than 10 bytes"):
        weights.pull("net", lambda what, done, total: taken.append(done))
    assert max(taken) < len(BODY)
    assert registry.kept() == []


def test_with_a_known_digest_a_part_needs_no_mark(registry, site):
    registry.add("net", f'url = "{site.url}/net.bin"', sha256=sha256(BODY))
    site.etag, site.cuts = "", [HALF]
    with pytest.raises(WeightsError):
        weights.pull("net")
    assert weights.pull("net").read_bytes() == BODY
    assert site.asked[-1] == ("/net.bin", f"bytes={HALF}-")


def test_a_download_that_was_whole_already_is_taken(net, site, tmp_path):
    partial = tmp_path / "whole"
    fetch.download(f"{site.url}/net.bin", partial)
    fetch.download(f"{site.url}/net.bin", partial)
    assert partial.read_bytes() == BODY
    assert site.asked[-1] == ("/net.bin", f"bytes={len(BODY)}-")


def test_a_file_that_became_shorter_is_read_from_the_start(net, site, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSES", (0.0,))
    partial = tmp_path / "partial"
    fetch.download(f"{site.url}/net.bin", partial, known=True)
    site.files["/net.bin"] = b"short"
    fetch.download(f"{site.url}/net.bin", partial, known=True)
    assert partial.read_bytes() == b"short"


def test_a_silent_server_is_not_waited_for_for_ever(net, site, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", httpx.Timeout(0.1))
    site.delay = 5.0
    with pytest.raises(WeightsError, match="broke off: timed out"):
        weights.pull("net")


def test_a_file_that_is_gone_is_an_error_with_its_status(net, site):
    site.files.clear()
    with pytest.raises(WeightsError, match=r"no such file .*404") as error:
        weights.pull("net")
    assert "limelight weights pull net --from PATH" in error.value.hint
    assert net.kept() == []


def test_no_server_is_an_error_that_names_the_address(registry):
    registry.add("net", 'url = "http://127.0.0.1:9/net.bin"')
    with pytest.raises(WeightsError, match=r"cannot reach http://127\.0\.0\.1:9/net\.bin"):
        weights.pull("net")


def test_a_web_page_is_not_taken_for_a_weight(net, site):
    site.files["/net.bin"] = b"\n<!DOCTYPE html><html>Please log in"
    with pytest.raises(WeightsError, match="is a web page"):
        weights.pull("net")
    assert net.kept() == []


@pytest.mark.parametrize("facts", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"size": 10}])
def test_another_file_than_was_published_is_not_kept(registry, site, facts):
    registry.add("net", f'url = "{site.url}/net.bin"', **facts)
    with pytest.raises(WeightsError, match=r"as published|more than 10 bytes"):
        weights.pull("net")
    assert registry.kept() == []


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
@pytest.mark.parametrize("comes_back", [True, False])
def test_a_link_that_leaves_encryption_is_not_followed(tmp_path, monkeypatch, scheme, comes_back):
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "example.org":
            return httpx.Response(302, headers={"Location": "http://elsewhere.example/net.bin"})
        if request.url.scheme == "http" and comes_back:
            return httpx.Response(302, headers={"Location": "https://elsewhere.example/net.bin"})
        return httpx.Response(200, content=BODY)

    client = httpx.Client
    monkeypatch.setattr(
        httpx, "Client", lambda **more: client(transport=httpx.MockTransport(answer), **more)
    )
    with pytest.raises(WeightsError, match="anybody on the way can change"):
        fetch.download(f"{scheme}://example.org/net.bin", tmp_path / "net.bin")
    assert not (tmp_path / "net.bin").exists()


# Mirrors.


def test_a_mirror_is_asked_before_the_publisher(net, site, tmp_path, monkeypatch):
    (tmp_path / "net.bin").write_bytes(b"mirrored")
    monkeypatch.setenv("LIMELIGHT_WEIGHTS_MIRROR", tmp_path.as_uri())
    assert weights.pull("net").read_bytes() == b"mirrored"
    assert site.asked == []


def test_what_a_mirror_lacks_is_asked_of_the_publisher(net, site, monkeypatch):
    monkeypatch.setenv("LIMELIGHT_WEIGHTS_MIRROR", f"{site.url}/mirror/")
    assert weights.pull("net").read_bytes() == BODY
    assert [path for path, _ in site.asked] == ["/mirror/net.bin", "/net.bin"]


def test_a_mirror_may_hold_what_the_publisher_gives_to_people_only(registry, site, monkeypatch):
    registry.add("net", 'register = "https://example.org/form"')
    monkeypatch.setenv("LIMELIGHT_WEIGHTS_MIRROR", site.url)
    with pytest.raises(WeightsError) as error:
        weights.prepare(["net"])
    assert error.value.hint == "limelight weights pull net"
    assert weights.pull("net").read_bytes() == BODY


def test_a_mirror_that_does_not_exist_is_named(registry, tmp_path, monkeypatch):
    registry.add("net", 'register = "https://example.org/form"')
    for prefix in (tmp_path.as_uri(), "nosuchscheme://mirror"):
        monkeypatch.setenv("LIMELIGHT_WEIGHTS_MIRROR", prefix)
        with pytest.raises(WeightsError, match=f"{prefix}/net.bin"):
            weights.pull("net")


class Unable(fsspec.get_filesystem_class("memory")):
    """A mirror that cannot be opened, by an error of its own."""

    protocol = "unable"

    def _open(self, *_: object, **__: object) -> None:
        raise RuntimeError("no credentials")


class Broken(fsspec.get_filesystem_class("memory")):
    """A mirror that breaks off."""

    protocol = "broken"

    def _open(self, *_: object, **__: object) -> "BytesIO":
        stream = BytesIO()
        stream.read = self._read
        return stream

    def _read(self, size: int = -1) -> bytes:
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


@pytest.mark.parametrize("mirror", [Unable, Broken])
def test_whatever_is_wrong_with_a_mirror_the_publisher_is_asked(net, site, monkeypatch, mirror):
    fsspec.register_implementation(mirror.protocol, mirror, clobber=True)
    monkeypatch.setenv("LIMELIGHT_WEIGHTS_MIRROR", f"{mirror.protocol}://mirror")
    site.files.clear()
    with pytest.raises(WeightsError, match=f"cannot read {mirror.protocol}://") as error:
        weights.pull("net")
    assert "cannot write the cache" not in error.value.message
    site.files["/net.bin"] = BODY
    assert weights.pull("net").read_bytes() == BODY


def test_another_file_at_its_publisher_is_to_be_downloaded_first(net, site):
    path = weights.pull("net")
    path.unlink()
    site.files["/net.bin"] = BODY[::-1]
    with pytest.raises(WeightsError, match="another file") as error:
        weights.pull("net")
    assert "download it" in error.value.hint
    assert "--from PATH --replace" in error.value.hint
    assert "http" not in error.value.hint


# Members of zip archives.


def packed(members: dict[str, bytes]) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def add_member(registry: Registry, site: Site, name: str, body: bytes, archive: bytes) -> None:
    site.files["/pack.zip"] = archive
    where = f'url = "{site.url}/pack.zip", member = "{name}.bin", sha256 = "{sha256(archive)}"'
    registry.add(name, where, sha256=sha256(body))


def test_one_archive_serves_all_its_members(registry, site):
    archive = packed({"one.bin": b"one", "folder/two.bin": b"two"})
    add_member(registry, site, "one", b"one", archive)
    add_member(registry, site, "two", b"two", archive)
    assert weights.pull("one").read_bytes() == b"one"
    assert weights.pull("two").read_bytes() == b"two"
    assert len(site.asked) == 1


def test_an_archive_without_the_member_is_an_error_that_names_it(registry, site):
    add_member(registry, site, "one", b"one", packed({"other.bin": b"one"}))
    with pytest.raises(WeightsError, match=r"pack\.zip holds no one\.bin"):
        weights.pull("one")
    assert registry.kept() == []


def test_another_archive_than_was_published_is_not_opened(registry, site, monkeypatch):
    add_member(registry, site, "one", b"one", packed({"one.bin": b"one"}))
    site.files["/pack.zip"] = packed({"one.bin": b"one", "more.bin": b""})
    monkeypatch.setattr(zipfile.ZipFile, "__init__", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(WeightsError, match="as published"):
        weights.pull("one")
    assert registry.kept() == []


def test_a_damaged_archive_is_an_error(registry, site):
    add_member(registry, site, "one", b"one", b"PK\x03\x04 no archive")
    with pytest.raises(WeightsError, match=r"pack\.zip is damaged"):
        weights.pull("one")
    assert registry.kept() == []


@pytest.mark.parametrize(
    ("how", "start"),
    [(zipfile.ZIP_DEFLATED, 37), (zipfile.ZIP_BZIP2, 37), (zipfile.ZIP_LZMA, 45)],
)
def test_a_member_whose_packing_is_damaged_is_an_error(how, start, tmp_path):
    body = np.random.default_rng(0).bytes(2000)
    with zipfile.ZipFile(tmp_path / "pack.zip", "w", how) as archive:
        archive.writestr("one.bin", body)
    data = bytearray((tmp_path / "pack.zip").read_bytes())
    data[start : start + 30] = b"\xff" * 30
    (tmp_path / "pack.zip").write_bytes(data)
    with pytest.raises(WeightsError, match=r"pack\.zip is damaged"):
        extract_member(tmp_path / "pack.zip", "one.bin", tmp_path / "one.bin")


# Two processes.


def test_two_processes_at_once_download_once(registry, site):
    where = f'url = "{site.url}/net.bin"'
    (registry.own / entries.OWN).write_text(toml_entry("net", where))
    site.delay = 0.3
    code = "from infra import weights; print(weights.pull('net'))"
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=60)[0].strip() for process in started]
    assert ended[0] == ended[1]
    assert Path(ended[0]).read_bytes() == BODY
    assert len(site.asked) == 1
