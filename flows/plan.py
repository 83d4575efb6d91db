"""What a build will take, told from headers and a calibration before anything is computed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import numpy as np

from catalog.lake import Lake
from catalog.sources import Entry, list_source, local_copy
from flows.calibration import calibrate
from flows.missing import State
from infra.errors import SourceError, UsageError
from infra.settings import load_settings
from stages.frames import read_headers
from stages.media import UnusableVideo

HEADERS_READ = 2000
"""Headers of so many unknown clips are read at most; the rest is judged by them."""


@dataclass(frozen=True)
class Plan:
    """A prediction. What no stage has judged yet counts as kept: a rejected clip costs less.

    Attributes:
        clips: Entries of the source.
        known: Those that the lake has met, unchanged.
        unreadable: Those that cannot be read, or hold no video by their headers.
        frames: Of all clips, by their headers; known copies of a clip count once.
        source_bytes: Of all clips.
        release_bytes: Of the release, without clips that the lake knows to be turned down.
        stages: A row a stage: worker seconds still to be spent, and their share.
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
    unknown = [entry for entry in readable if entry.uri not in known]
    read, unusable = _headers(lake, unknown[:: max(1, -(-len(unknown) // HEADERS_READ))])
    scale = len(unknown) / max(1, len(read) + unusable)
    # Copies of a clip are computed once.
    rows = {row.clip: row for row in known.values()}
    sizes = np.array([(r.frames, r.width * r.height) for r in rows.values()], float).reshape(-1, 2)
    stages = config.stages()
    calibration = calibrate(config, load_settings(workers=config.engine.workers or None))
    state = State.load(lake.outcomes, calibration.fingerprints, list(rows), stages)
    missing = state.runnable(stages)
    kept = (missing | state.done()).all(axis=1)
    names = [stage.name for stage in stages]
    known_seconds = calibration.clip_seconds(names, sizes) * missing
    unknown_seconds = calibration.clip_seconds(names, read)
    by_stage = known_seconds.sum(axis=0) + scale * unknown_seconds.sum(axis=0)
    seconds = dict(zip(names, by_stage.tolist(), strict=True))
    total = float(by_stage.sum())
    each_clip = np.concatenate([known_seconds.sum(axis=1), unknown_seconds.sum(axis=1)])
    # The even share; or the longest clip, if that is more.
    work = max(total / calibration.workers, float(each_clip.max(initial=0.0)))
    unknown_frames = scale * float(read[:, 0].sum())
    idle = not total and not unknown
    return Plan(
        clips=len(entries),
        known=len(known),
        unreadable=len(entries) - len(readable) + round(unusable * scale),
        frames=round(float(sizes[:, 0].sum()) + unknown_frames),
        source_bytes=sum(entry.size for entry in readable),
        release_bytes=round(
            (float(sizes[kept, 0].sum()) + unknown_frames) * calibration.release_bytes_per_frame
        ),
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
            calibration.flow_seconds + (0.0 if idle else calibration.start_seconds) + work,
            1,
        ),
        bottleneck=max(seconds, key=lambda name: seconds[name]) if total else "nothing is missing",
    )


def _headers(lake: Lake, entries: Sequence[Entry]) -> tuple[np.ndarray, int]:
    """(frames, pixels) of each readable header, and how many held no video."""
    sizes: list[tuple[float, float]] = []
    unusable = 0
    run = f"plan-{uuid4().hex}"
    for entry in entries:
        scratch = lake.scratch(run)
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            headers = read_headers(local_copy(entry.uri, scratch))
            sizes.append((headers.frames, headers.width * headers.height))
        except (SourceError, UnusableVideo, OSError):
            unusable += 1
        finally:
            lake.discard_scratch(run)
    return np.array(sizes, float).reshape(-1, 2), unusable
