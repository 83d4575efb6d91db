"""Releases in the layouts that other programs read."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from uuid import uuid4

from catalog.release import Release
from catalog.splits import SPLITS
from infra.errors import UsageError
from infra.storage import fsync_path, lake_errors

_TALKINGHEAD = {
    "video": ("video.mp4", "video_path"),
    "kpmap": ("kpmap.mp4", "kps_path"),
    "mesh": ("mesh.mp4", "light_path"),
    "mask": ("mask.mp4", "mask_path"),
}
"""LCVD's folders: the member that goes there, and its key in the manifest."""


def export_talkinghead(
    release: Release, out: Path, *, dataset: str = "", splits: Sequence[str] = SPLITS
) -> Path:
    """Write a release as LCVD's make_dataset.py lays its data out.

    ``<out>/<dataset>/<dataset>-video|-kpmap|-mask|-mesh/<original name>.mp4``, and beside them
    the manifest ``<dataset>-data-consistent.json``, whose ``video_path`` leads to the video
    (LCVD's own leads to the mesh). The four videos of a clip have equal frames.

    Args:
        release: To export.
        out: Folder in which the dataset's folder is made.
        dataset: Its name; by default the release's.
        splits: Which splits; LCVD's layout does not tell them apart.

    Returns:
        The manifest.

    Raises:
        UsageError: The folder is there already, or a sample lacks one of the four videos.
        LakeError: The disk is full or read-only, or the release is damaged.
    """
    dataset = dataset or release.name
    missing = [name for name, _ in _TALKINGHEAD.values() if name not in release.members]
    if missing:
        raise UsageError(f"{release.path} has no {', '.join(missing)}, which LCVD's layout needs")
    final = out.absolute() / dataset
    with _whole(final) as folder:
        for kind in _TALKINGHEAD:
            (folder / f"{dataset}-{kind}").mkdir()
        manifest = []
        for key, stem in _stems(release, splits):
            entry = {}
            for kind, (member, word) in _TALKINGHEAD.items():
                place = f"{dataset}-{kind}/{stem}.mp4"
                (folder / place).write_bytes(release.read(key, member))
                entry[word] = str(final / place)
            manifest.append(entry)
        name = f"{dataset}-data-consistent.json"
        (folder / name).write_text(json.dumps(manifest, indent=4, ensure_ascii=False), "utf-8")
    return final / name


def export_webdataset(release: Release, out: Path) -> Path:
    """Put a release's shards, index, record and card into ``<out>/<name>``.

    Files are hard links where the file system allows, else copies. The folder is a release
    by itself: it can be verified, and read by `catalog.release.Release`.

    Returns:
        The folder.

    Raises:
        UsageError: It is there already.
        LakeError: The disk is full or read-only.
    """
    final = out.absolute() / release.name
    with _whole(final) as folder:
        for path in sorted(release.path.rglob("*")):
            target = folder / path.relative_to(release.path)
            if path.is_dir():
                target.mkdir()
                continue
            try:
                os.link(path, target)
            except OSError:  # another file system, or one without links
                shutil.copyfile(path, target)
    return final


def _stems(release: Release, splits: Sequence[str]) -> list[tuple[str, str]]:
    """Key and file name of each sample; a name that two samples share gets part of the key."""
    index = release.index.select(["key", "split", "label"]).to_pylist()
    rows = [(row["key"], _stem(row["label"])) for row in index if row["split"] in splits]
    taken = Counter(stem.casefold() for _, stem in rows)
    named = [(k, stem if taken[stem.casefold()] == 1 else f"{stem}-{k[:12]}") for k, stem in rows]
    return sorted(named, key=lambda pair: pair[1])


def _stem(label: str) -> str:
    """A file name of at most 200 bytes out of a label."""
    stem = PurePosixPath(label).stem.encode()[:200].decode("utf-8", "ignore")
    return stem.replace("\0", "_")


@contextmanager
def _whole(final: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name ``final`` only when it is full."""
    if final.exists():
        raise UsageError(f"{final} is there already", hint="remove it, or choose another --out")
    aside = final.with_name(f".{final.name}.{uuid4().hex}.tmp")
    with lake_errors(final):
        try:
            aside.mkdir(parents=True)
            yield aside
            for folder, _, files in os.walk(aside):
                for name in files:
                    fsync_path(Path(folder) / name)
                fsync_path(Path(folder))
            aside.rename(final)
            fsync_path(final.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
