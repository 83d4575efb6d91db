"""What a build will take, told from headers and a calibration before anything is computed."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from catalog.lake import Lake
from catalog.sources import Entry, list_source, local_copy
from flows.calibration import Calibration, calibrate
from infra.errors import SourceError, UsageError
from infra.settings import load_settings
from stages.frames import read_headers
from stages.media import UnusableVideo

HEADERS_READ = 2000
"""Headers of so many unknown clips are read at most; the rest is judged by them."""


@dataclass(frozen=True)
class Plan:
    """A prediction. It counts every clip as kept: a rejected one costs less.

    Attributes:
        clips: Entries of the source.
        known: Those that the lake has met, unchanged.
        unreadable: Those that cannot be read, or hold no video by their headers.
        frames: Of all clips, by their headers.
        source_bytes: Of all clips.
        release_bytes: Of the release.
        stages: A row a stage: worker seconds, and their share.
        workers: That will share the work.
        seconds: From start to end.
        bottleneck: The stage that takes most.
    """

    clips: int
    known: int
    unreadable: int
    frames: int
    source_bytes: int
    release_bytes: int
    stages: list[dict[str, Any]]
    workers: int
    seconds: float
    bottleneck: str

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def make_plan(lake: Lake, source: str, config: Any) -> Plan:
    """Predict a build of ``source`` into ``lake``.

    Stages that are done for a clip under the current fingerprints cost nothing.

    Raises:
        UsageError: There is no such source, or no source was given.
    """
    if not source:
        raise UsageError("no source was given", hint="give SOURCE, or set [source] path")
    entries = list(list_source(source, config.source.layout))
    readable = [entry for entry in entries if not entry.error]
    known = lake.clips.known(readable)
    sizes = np.array([(row.frames, row.width * row.height) for row in known.values()], float)
    unknown = [entry for entry in readable if entry.uri not in known]
    read, unusable = _headers(lake, unknown[:: max(1, len(unknown) // HEADERS_READ)])
    scale = len(unknown) / max(1, len(read) + unusable)
    weights = np.concatenate([np.ones(len(sizes)), np.full(len(read), scale)])
    sizes = np.concatenate([sizes.reshape(-1, 2), read])
    stages = config.stages()
    calibration = calibrate(config, load_settings(workers=config.engine.workers or None))
    done = lake.outcomes.counts(calibration.fingerprints, [row.clip for row in known.values()])
    share_done = _share_done(done, sizes, weights)
    seconds = {
        stage.name: calibration.worker_seconds(stage.name, sizes, weights)
        * (1 - share_done.get(stage.name, 0.0))
        for stage in stages
    }
    frames = float((sizes[:, 0] * weights).sum())
    total = sum(seconds.values())
    idle = not total and not unknown
    return Plan(
        clips=len(entries),
        known=len(known),
        unreadable=len(entries) - len(readable) + round(unusable * scale),
        frames=round(frames),
        source_bytes=sum(entry.size for entry in readable),
        release_bytes=round(frames * calibration.release_bytes_per_frame),
        stages=[
            {
                "stage": name,
                "worker seconds": round(each, 1),
                "share": f"{each / total:.0%}" if total else "0%",
            }
            for name, each in seconds.items()
        ],
        workers=calibration.workers,
        seconds=round(
            calibration.flow_seconds
            + (0.0 if idle else calibration.start_seconds)
            + _makespan(calibration, sizes, weights, total),
            1,
        ),
        bottleneck=max(seconds, key=lambda name: seconds[name]) if total else "nothing is missing",
    )


def _headers(lake: Lake, entries: Sequence[Entry]) -> tuple[np.ndarray, int]:
    """(frames, pixels) of each readable header, and how many held no video."""
    sizes: list[tuple[float, float]] = []
    unusable = 0
    scratch = lake.scratch("plan")
    try:
        for entry in entries:
            try:
                scratch.mkdir(parents=True, exist_ok=True)
                headers = read_headers(local_copy(entry.uri, scratch))
                sizes.append((headers.frames, headers.width * headers.height))
            except (SourceError, UnusableVideo, OSError):
                unusable += 1
    finally:
        lake.discard_scratch("plan")
    return np.array(sizes, float).reshape(-1, 2), unusable


def _share_done(counts: Iterable[Any], sizes: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Share of all frames whose stage has an outcome already, by stage."""
    frames = float((sizes[:, 0] * weights).sum())
    shares: dict[str, float] = {}
    clips = float(weights.sum())
    for count in counts:
        # A rejected clip has no frames on record; it counts as one of average length.
        part = count.frames / frames if count.frames and frames else count.clips / max(clips, 1)
        shares[count.stage] = min(1.0, shares.get(count.stage, 0.0) + part)
    return shares


def _makespan(
    calibration: Calibration, sizes: np.ndarray, weights: np.ndarray, total: float
) -> float:
    """Seconds from first to last clip: the even share, or the longest clip if that is more."""
    if not len(sizes):
        return 0.0
    longest = sizes[sizes[:, 0].argmax()][None]
    alone = sum(
        calibration.worker_seconds(name, longest, np.ones(1)) for name in calibration.fingerprints
    )
    return max(total / calibration.workers, min(alone, total))
