"""Small releases for tests."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from catalog.lake import Lake
from catalog.publish import Pedigree, Sample, publish
from catalog.release import Release
from catalog.shards import Source

MEMBERS = ("video.mp4", "mask.mp4", "kpmap.mp4", "mesh.mp4", "params.npz")
PEDIGREE = Pedigree({"probe": "p1"}, {"seed": 0}, {}, shard_bytes=1 << 14)


def source(name: str, data: bytes) -> Source:
    """A member held in memory."""
    return Source(name, data, hashlib.sha256(data).hexdigest(), len(data))


def sample(number: int, *, label: str = "", split: str = "train", **members: bytes) -> Sample:
    """A sample whose members' bytes follow from its number."""
    key = hashlib.sha256(str(number).encode()).hexdigest()[:32]
    chosen: Mapping[str, bytes] = members or {
        name: f"{name} of {key}".encode() * (number % 7 + 1) for name in MEMBERS
    }
    return Sample(
        key=key,
        split=split,
        label=label or f"clip {number}.mp4",
        identity=f"person{number}",
        frames=100 + number,
        fps="30000/1001",
        score=number / 100,
        width=512,
        height=512,
        facts={"frame": {"crop": [0, 0, 512.5, 512.5]}},
        members=[source(name, data) for name, data in chosen.items()],
    )


def make_release(
    folder: Path, samples: Iterable[Sample], name: str = "demo", pedigree: Pedigree = PEDIGREE
) -> Release:
    """Publish ``samples`` in the lake at ``folder``, which is made if missing."""
    return publish(Lake.open(folder, create=True), name, list(samples), pedigree)
