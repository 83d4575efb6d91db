"""Downloads that resume: one address into one partial file, until it is whole.

Whether the bytes are the right ones is for the caller to judge; here it is only made sure that
parts of two different files are never put together.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import httpx

from infra.errors import WeightsError
from infra.weights.cache import LARGEST, cache_errors, write_chunks

Progress = Callable[[str, int, int], None]
"""``(what, done, total)``: what is happening, bytes done and bytes in all (0: not known)."""

PAUSES = (1.0, 3.0)
"""Seconds before a download that broke off is taken up again."""

TIMEOUT = httpx.Timeout(60.0, connect=20.0)
"""A server may be silent for so long."""

_CHUNK = 1 << 18
_AGAIN = "run the same command again: it takes up where it broke off"
_BY_HAND = "get the file by hand, then: limelight weights pull NAME --from PATH"


class _BrokeOffError(Exception):
    """A download ended early; what is there may be gone on with."""


def quiet(what: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


def download(
    url: str,
    partial: Path,
    progress: Progress = quiet,
    *,
    known: bool = False,
    most: int = LARGEST,
) -> None:
    """Bring ``partial`` to the whole of ``url``, going on from what it holds already.

    It is gone on with only if the server says that it still has the same file, by the ETag or
    date noted at the start, or if the file's digest is known beforehand. A server that ignores
    ranges is read from the start.

    Args:
        url: ``http(s)``, or any address that fsspec opens.
        partial: Kept where the download breaks off; nobody else may write to it meanwhile.
        progress: Told the bytes.
        known: The caller knows the digest, so a wrong mixture would be noticed.
        most: Bytes that the file may have.

    Raises:
        WeightsError: There is no such file, no network, or no end of it.
    """
    with cache_errors():
        partial.parent.mkdir(parents=True, exist_ok=True)
    if not re.match(r"https?://", url, re.I):
        _copy(url, partial, progress, most)
        return
    for pause in (*PAUSES, None):
        try:
            _attempt(url, partial, progress, known, most)
            return
        except _BrokeOffError as error:
            if pause is None:
                raise WeightsError(
                    f"the download of {url} broke off: {error}", hint=_AGAIN
                ) from error
            time.sleep(pause)


def discard(partial: Path) -> None:
    """Forget a partial file and what was noted about it."""
    partial.unlink(missing_ok=True)
    _note(partial).unlink(missing_ok=True)


def _attempt(url: str, partial: Path, progress: Progress, known: bool, most: int) -> None:
    """Read on until the end, or until something breaks."""
    offset, validator, noted = _held(partial, known)
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator:
            headers["If-Range"] = validator
    with _open(url, headers) as response:
        if response.status_code == 416:
            whole = noted in (0, offset)
            if whole and response.headers.get("Content-Range") == f"bytes */{offset}":
                return  # it was whole already
            discard(partial)
            raise _BrokeOffError("the server's file is shorter than it was")
        _check_status(url, response)
        start = _start(response, validator, known) if response.status_code == 206 else 0
        if start not in (0, offset):
            discard(partial)
            raise _BrokeOffError("the server's file has changed meanwhile")
        total = _total(response)
        if start and noted:
            if total not in (0, noted):
                discard(partial)
                raise _BrokeOffError("the server's file has changed meanwhile")
            total = noted
        with cache_errors(), partial.open("ab" if start else "wb") as file:
            if not start:
                _note(partial).write_text(f"{_validator(response)}\n{total}")
            progress(f"downloading {partial.name}", start, total)
            for chunk in response.iter_raw(_CHUNK):
                file.write(chunk)
                progress(f"downloading {partial.name}", file.tell(), total)
                if max(file.tell(), total) > most:
                    break
            done = file.tell()
        if max(done, total) > most:
            discard(partial)
            raise _too_large(url, most)
        if total and done != total:
            raise _BrokeOffError(f"{done:,} of {total:,} bytes came")


@contextmanager
def _open(url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """An open answer; what breaks on the way is told in our own words."""
    try:
        with (
            httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            for step in (*response.history, response):
                if url.lower().startswith("https:") and step.url.scheme != "https":
                    raise WeightsError(
                        f"{url} leads to {step.url}, which anybody on the way can change",
                        hint=_BY_HAND,
                    )
            yield response
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
        raise WeightsError(
            f"cannot reach {url}: {error}", hint=f"check the network; or {_BY_HAND}"
        ) from error
    except httpx.TransportError as error:
        raise _BrokeOffError(str(error) or type(error).__name__) from error
    except httpx.HTTPError as error:
        raise WeightsError(f"cannot read {url}: {error}", hint=_BY_HAND) from error


def _held(partial: Path, known: bool) -> tuple[int, str, int]:
    """Bytes that may be gone on from, by what the server knows their file, and its size (or 0)."""
    try:
        validator, _, total = _note(partial).read_text().partition("\n")
        return (partial.stat().st_size if validator or known else 0), validator, int(total)
    except (FileNotFoundError, ValueError):
        return 0, "", 0


def _start(response: httpx.Response, validator: str, known: bool) -> int:
    """Where a part begins; -1 if it is none of the file that was begun."""
    # Some servers heed a range without looking at its condition. Where no digest would tell,
    # they must say themselves that it is the same file.
    now = _validator(response)
    if now != validator and not (known and "" in (now, validator)):
        return -1
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _total(response: httpx.Response) -> int:
    """Bytes of the whole file, of which this answer may be a part; 0 if the server tells none."""
    if response.status_code == 206:
        found = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        return int(found[1]) if found else 0
    return int(response.headers.get("Content-Length", 0))


def _validator(response: httpx.Response) -> str:
    """By what the server tells this file from a later one; empty if it does not."""
    etag = str(response.headers.get("ETag", ""))
    strong = etag if etag.startswith('"') else ""
    return strong or str(response.headers.get("Last-Modified", ""))


def _check_status(url: str, response: httpx.Response) -> None:
    code = response.status_code
    if code in (200, 206):
        return
    if code == 429 or code >= 500:
        raise _BrokeOffError(f"the server is busy or broken (status {code})")
    said = {401: "asks for a login", 403: "refuses", 404: "has no such file", 410: "has it no more"}
    raise WeightsError(
        f"{url}: the server {said.get(code, 'refuses')} (status {code})", hint=_BY_HAND
    )


def _copy(url: str, partial: Path, progress: Progress, most: int) -> None:
    """Read what fsspec opens; from the start, for few of its file systems can do otherwise."""
    try:
        opened: Any = fsspec.open(url, "rb")
        with opened as source:
            total = int(getattr(source, "size", 0) or 0)

            def chunks() -> Iterator[bytes]:
                done = 0
                while done <= most and (chunk := source.read(_CHUNK)):
                    yield chunk
                    done += len(chunk)
                    progress(f"downloading {partial.name}", done, total)

            done = write_chunks(partial, chunks())
        if done > most:
            discard(partial)
            raise _too_large(url, most)
    except WeightsError:
        raise
    except FileNotFoundError as error:
        raise WeightsError(f"there is no {url}", hint="check the address") from error
    except Exception as error:  # each of its file systems has errors of its own
        raise WeightsError(f"cannot read {url}: {error}", hint="check the address") from error


def _too_large(url: str, most: int) -> WeightsError:
    return WeightsError(f"{url} is another file: it has more than {most:,} bytes", hint=_BY_HAND)


def _note(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.validator")
