"""Places of clips: URIs, what is known of the file behind one, and a local copy of it."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, unquote_to_bytes

import fsspec

from catalog.layouts import read_identity
from catalog.tables import clean
from infra.errors import LakeError, SourceError, UsageError
from infra.storage import lake_errors

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that a source names.

    Attributes:
        uri: Where its bytes are: ASCII, percent-encoded, readable by :func:`local_copy`.
        label: Its name relative to the source, for people: valid UTF-8.
        size: Bytes; 0 where unknown.
        mtime_ns: When its bytes last changed, ns since 1970; 0 where unknown.
        identity: Who is seen, as far as the name tells.
        error: Why it cannot be read; empty if nothing speaks against it.
        note: What a person should know, such as that the name does not follow the layout.
    """

    uri: str
    label: str
    size: int = 0
    mtime_ns: int = 0
    identity: str = ""
    error: str = ""
    note: str = ""


def local_uri(path: Path) -> str:
    """The ``file://`` URI of a local path, whatever bytes its name is made of."""
    return "file://" + quote(os.fsencode(path.absolute()))


def local_path(uri: str) -> Path:
    """The local path that a ``file://`` URI, or a plain path, names."""
    if uri.startswith("file://"):
        return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))
    return Path(uri)


def local_copy(uri: str, scratch: Path) -> Path:
    """A local file with the bytes at ``uri``: itself where it is local, else a copy.

    Args:
        uri: As in :attr:`Entry.uri`.
        scratch: Folder for the copy.

    Raises:
        SourceError: The bytes cannot be read now.
        LakeError: There is no room for a copy.
    """
    if uri.startswith("file://"):
        path = local_path(uri)
        if error := local_entry(path, "", "plain").error:
            raise SourceError(f"{uri} {error}")
        return path
    url = remote_url(uri)
    copy = scratch / (hashlib.sha256(uri.encode()).hexdigest()[:16] + PurePosixPath(url).suffix)
    try:
        with fsspec.open(url, "rb") as remote, lake_errors(copy), copy.open("wb") as file:
            shutil.copyfileobj(remote, file, 1 << 20)
    except LakeError:
        raise
    except Exception as error:  # every fsspec backend raises its own
        raise SourceError(f"{uri} cannot be read: {type(error).__name__}: {error}") from error
    return copy


@contextmanager
def open_source(uri: str) -> Iterator[Path | BinaryIO]:
    """The bytes at ``uri`` for one who wants few of them: a path, or an opened remote file.

    Of the remote file only those blocks travel that are read.

    Args:
        uri: As in :attr:`Entry.uri`.

    Raises:
        SourceError: The bytes cannot be read now.
    """
    if uri.startswith("file://"):
        yield local_path(uri)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(fsspec.open(remote_url(uri), "rb"))
        except Exception as error:  # every fsspec backend raises its own
            raise SourceError(f"{uri} cannot be read: {type(error).__name__}: {error}") from error
        yield file


def remote_uri(url: str) -> str:
    """An fsspec URL as an ASCII URI. HTTP URLs are URIs already, and stay as they are."""
    if url.startswith(("http://", "https://")):
        return ascii_uri(url)
    protocol, _, path = url.partition("://")
    return f"{protocol}://{quote(path, errors='surrogateescape')}"


def ascii_uri(uri: str) -> str:
    """``uri`` with whatever is not ASCII, or a space, percent-encoded; the rest as it is."""
    return quote(uri, safe=":/?#[]@!$&'()*+,;=%~", errors="surrogateescape")


def remote_url(uri: str) -> str:
    """The fsspec URL that :func:`remote_uri` made ``uri`` of."""
    if uri.startswith(("http://", "https://")):
        return uri
    return unquote(uri, errors="surrogateescape")


def read_entry(uri: str, label: str, layout: str) -> Entry:
    """The entry of one URI, looked up where it is.

    Raises:
        SourceError: A remote store does not answer.
    """
    if uri.startswith("file://"):
        return local_entry(local_path(uri), label, layout)
    filesystem, path = filesystem_of(remote_url(uri))
    try:
        info = filesystem.info(path)
    except FileNotFoundError:
        return make_entry(uri, label, layout, error="does not exist")
    except Exception as error:
        raise SourceError(f"{uri} cannot be looked up: {error}") from error
    return make_entry(
        uri, label, layout, size=int(info.get("size") or 0), mtime_ns=mtime_ns_of(info)
    )


def make_entry(uri: str, label: str, layout: str, **known: Any) -> Entry:
    """An entry whose identity is read out of its label, unless ``known`` has one."""
    identity, follows = read_identity(PurePosixPath(label).stem, layout)
    if known.get("identity"):
        identity, follows = known.pop("identity"), True
    note = "" if follows else f"the name does not follow the layout {layout}: taken as identity"
    return Entry(uri, clean(label), **{"identity": clean(identity), "note": note, **known})


def local_entry(path: Path, label: str, layout: str) -> Entry:
    """The entry of a local path, which need not exist or be a file: ``error`` says so."""
    uri = local_uri(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        lost = "is a link that leads nowhere" if path.is_symlink() else "does not exist"
        return make_entry(uri, label, layout, error=lost)
    except OSError as error:
        return make_entry(uri, label, layout, error=f"cannot be read: {error.strerror}")
    problem = ""
    if not os.access(path, os.R_OK):
        problem = "cannot be read: its permissions forbid it"
    elif kind := _KINDS.get(stat.S_IFMT(status.st_mode)):
        problem = f"is {kind}, not a file"
    return make_entry(
        uri, label, layout, size=status.st_size, mtime_ns=status.st_mtime_ns, error=problem
    )


def filesystem_of(url: str) -> tuple[Any, str]:
    """The fsspec file system that serves ``url``, and the path in it.

    Raises:
        UsageError: No backend for its protocol is installed.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise UsageError(
            f"the source {url} cannot be opened: {error}",
            hint="check the protocol; s3:// needs the extra: pip install limelight[s3]",
        ) from error
    return filesystem, path


def mtime_ns_of(info: dict[str, Any]) -> int:
    """When a remote file last changed, ns since 1970; 0 where its store does not tell."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        when = info.get(key)
        if isinstance(when, (int, float)):
            return int(when * 1_000_000_000)
        if isinstance(when, datetime):
            return int(when.timestamp() * 1_000_000) * 1000
    return 0
