"""The latent cache: every clip's latents, encoded once, kept under a name that says all of it.

``<lake>/latents/<codec digest>/<key>.npy``: an array with a record a frame, its checksum and its
moments (mean and standard deviation, unscaled), of which training maps and reads just the frames
of a window. The key is the digest of what decides the latents: the video's bytes, the cut, the
size, the mirroring, the codec, and the number format.

Changes that make other pictures (zoom, colour, light) make other latents, and so do not go with the
cache: a run that uses it must have them off. Mirrored pictures are entries of their own.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from catalog.lake import Lake
from catalog.release import Release
from infra.digests import digest_file, digest_json
from infra.errors import LakeError, UsageError
from infra.storage import commit_file, lake_errors
from training.data import ReleaseClips
from training.films import NormalFilm
from training.samples.view import View

if TYPE_CHECKING:
    import torch

    from training.model.latents import LatentCodec

Stored = Literal["float16", "float32"]
"""Number format of the moments on the disk."""

Progress = Callable[[int, int], None]
"""Called with the entries that are there so far, and all that there will be."""

_SUM, _MOMENTS = "crc32", "moments"
_BATCH = 8


@dataclass(frozen=True)
class CacheStanding:
    """How much of a release's latents is there.

    Attributes:
        done: Entries that are there.
        missing: (key, mirrored) of those that are not, in order.
        bytes: Size of those that are there.
    """

    done: int
    missing: tuple[tuple[str, bool], ...]
    bytes: int


class LatentCache:
    """Where the latents of one codec, at one size, are kept. Making one touches no disk.

    Args:
        lake: Holds them.
        codec: Digest of the codec (`LatentCodec.digest`).
        size: Side of the pictures that are encoded.
        dtype: Of the stored moments.
    """

    def __init__(self, lake: Lake, codec: str, size: int, dtype: Stored = "float16") -> None:
        self.folder = lake.root / "latents" / codec
        self.size = size
        self.dtype = dtype
        self._codec = codec

    def path(self, clips: ReleaseClips, clip: int, *, mirrored: bool = False) -> Path:
        """Where a clip's entry is, or would be."""
        view = View.full(clips.sizes[clip], self.size)
        key = {
            "video": clips.digest(clip, "video.mp4"),
            "cut": [view.left, view.top, view.side],
            "size": self.size,
            "mirrored": mirrored,
            "codec": self._codec,
            "dtype": self.dtype,
        }
        return self.folder / f"{digest_json(key)}.npy"

    def read(
        self, clips: ReleaseClips, clip: int, indices: Sequence[int], *, mirrored: bool = False
    ) -> NDArray[Any]:
        """Moments of some frames, (n, 2C, h, w) of the stored format.

        Raises:
            LakeError: There is no such entry, or it is damaged.
        """
        path = self.path(clips, clip, mirrored=mirrored)
        name = f"the latents of {clips.keys[clip]} at {path}"
        try:
            records = np.load(path, mmap_mode="r", allow_pickle=False)
            if len(records) != clips.lengths[clip]:
                raise ValueError(f"{len(records)} frames, not {clips.lengths[clip]}")
            chosen = records[list(indices)]
            moments: NDArray[Any] = chosen[_MOMENTS]
        except FileNotFoundError as error:
            raise LakeError(f"{name} are missing", hint="fill the cache again") from error
        except (ValueError, IndexError, EOFError) as error:
            raise LakeError(f"{name} cannot be read: {error}", hint="remove the file") from error
        for frame, kept, index in zip(moments, chosen[_SUM], indices, strict=True):
            if zlib.crc32(frame.tobytes()) != kept:
                raise LakeError(f"{name} are damaged in frame {index}", hint="remove the file")
        return moments


def cache_standing(
    cache: LatentCache, release: Release, *, mirrored: bool, splits: Sequence[str] = ("train",)
) -> CacheStanding:
    """How much of what training would read is there.

    Args:
        cache: Where.
        release: Of which release.
        mirrored: Count the mirrored pictures too: needed where the recipe flips.
        splits: Of which splits; those that the release does not have count for nothing.
    """
    done, size, missing = 0, 0, []
    for clips, clip, flipped in _entries(release, splits, mirrored):
        path = cache.path(clips, clip, mirrored=flipped)
        if path.is_file():
            done, size = done + 1, size + path.stat().st_size
        else:
            missing.append((clips.keys[clip], flipped))
    return CacheStanding(done, tuple(missing), size)


def build_cache(
    cache: LatentCache,
    release: Release,
    codec: "LatentCodec",
    *,
    mirrored: bool,
    splits: Sequence[str] = ("train",),
    device: "torch.device | str" = "cpu",
    batch: int = _BATCH,
    progress: Progress = lambda done, total: None,
) -> CacheStanding:
    """Encode what is missing; entries that are there are left alone.

    A clip's frames pass through in batches, and go to the disk as they come: memory does not
    grow with its length. An entry gets its name when it is whole, so that whoever stops this
    may start it again.

    Args:
        cache: Where the latents go.
        release: Whose clips.
        codec: Encodes; on ``device``.
        mirrored: Encode the mirrored pictures too.
        splits: Of which splits.
        device: Where the codec is.
        batch: Frames that are encoded at once.
        progress: Told the entries.

    Returns:
        How it stands afterwards.

    Raises:
        UsageError: The codec is not the one that the cache is for.
        LakeError: A video is damaged; the disk is full or read-only.
    """
    if cache.folder.name != codec.digest:
        raise UsageError(f"this cache is for the codec {cache.folder.name}, not {codec.digest}")
    entries = list(_entries(release, splits, mirrored))
    for done, (clips, clip, flipped) in enumerate(entries):
        progress(done, len(entries))
        path = cache.path(clips, clip, mirrored=flipped)
        if not path.is_file():
            moments = _encoded(cache, clips, clip, codec, flipped, device, batch)
            _write(path, clips.lengths[clip], moments)
    progress(len(entries), len(entries))
    return cache_standing(cache, release, mirrored=mirrored, splits=splits)


def _entries(
    release: Release, splits: Sequence[str], mirrored: bool
) -> Iterator[tuple[ReleaseClips, int, bool]]:
    there = set(release.index["split"].to_pylist())
    for split in splits:
        if split in there:
            clips = ReleaseClips(release, split)
            for clip in range(len(clips)):
                for flipped in (False, True) if mirrored else (False,):
                    yield clips, clip, flipped


def _encoded(
    cache: LatentCache,
    clips: ReleaseClips,
    clip: int,
    codec: "LatentCodec",
    mirrored: bool,
    device: "torch.device | str",
    batch: int,
) -> Iterator[NDArray[Any]]:
    """Moments (n, 2C, h, w) of a clip's frames, a batch at a time."""
    import torch

    view = View.full(clips.sizes[clip], cache.size)
    length = clips.lengths[clip]
    with NormalFilm(clips.release.read(clips.keys[clip], "video.mp4")) as film:
        for start in range(0, length, batch):
            pictures = view.pictures(film.read(range(start, min(start + batch, length))))
            bytes_ = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
            seen = bytes_.movedim(-1, -3).float().div_(127.5).sub_(1)
            with torch.inference_mode():
                both = torch.cat(codec.moments(seen.flip(-1) if mirrored else seen), dim=1)
            yield both.float().cpu().numpy().astype(cache.dtype)


def _write(path: Path, length: int, parts: Iterator[NDArray[Any]]) -> None:
    """Write a clip's entry as its parts come, and give it its name when it is whole."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    records: Any = None
    with lake_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            at = 0
            for moments in parts:
                if records is None:
                    kind = np.dtype([(_SUM, "<u4"), (_MOMENTS, moments.dtype, moments.shape[1:])])
                    records = np.lib.format.open_memmap(
                        temporary, mode="w+", dtype=kind, shape=(length,)
                    )
                part = records[at : at + len(moments)]
                part[_MOMENTS] = moments
                part[_SUM] = [zlib.crc32(frame.tobytes()) for frame in moments]
                at += len(moments)
            records.flush()
            commit_file(temporary, path, digest=digest_file(temporary), point="latents")
        finally:
            temporary.unlink(missing_ok=True)
