"""What a build will take, told from headers and a calibration before anything is computed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.lake import Lake
from catalog.sources import Entry, list_source, open_source
from flows.calibration import calibrate
from flows.missing import State
from infra.errors import UsageError
from infra.settings import load_settings
from stages.frames import read_headers

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
    seen = _survey(lake, source, config.source.layout)
    stages = config.stages()
    calibration = calibrate(config, load_settings(workers=config.engine.workers or None))
    state = State.load(lake.outcomes, calibration.fingerprints, seen.known_ids, stages)
    missing = state.runnable(stages)
    kept = (missing | state.done()).all(axis=1)
    names = [stage.name for stage in stages]
    known = calibration.clip_seconds(names, seen.known) * missing
    unknown = calibration.clip_seconds(names, seen.sample)
    by_stage = known.sum(axis=0) + seen.scale * unknown.sum(axis=0)
    seconds = dict(zip(names, by_stage.tolist(), strict=True))
    total = float(by_stage.sum())
    each_clip = np.concatenate([known.sum(axis=1), unknown.sum(axis=1)])
    # The even share; or the longest clip, if that is more.
    work = max(total / calibration.workers, float(each_clip.max(initial=0.0)))
    sampled_frames = seen.scale * float(seen.sample[:, 0].sum())
    kept_frames = float(seen.known[kept, 0].sum()) + sampled_frames
    idle = not total and not seen.unknown_entries
    return Plan(
        clips=seen.entries,
        known=seen.entries - seen.unreadable - seen.unknown_entries,
        unreadable=seen.unreadable + round(seen.unusable * seen.scale),
        frames=round(float(seen.known[:, 0].sum()) + sampled_frames),
        source_bytes=seen.bytes,
        release_bytes=round(kept_frames * calibration.release_bytes_per_frame),
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


@dataclass(frozen=True)
class _Survey:
    """What a source holds, as far as it is told without decoding.

    Attributes:
        entries: How many there are.
        unreadable: Of these, how many cannot be read.
        bytes: Of the readable ones.
        unknown_entries: Readable ones that the lake has not met.
        known_ids: Ids of those that it has; copies of a clip are computed once.
        known: (frames, pixels of a frame) of each, shape (n, 2).
        sample: The same of a sample of the unknown ones, shape (m, 2).
        unusable: How many more were sampled, but held no video.
        scale: How many unknown entries each sampled one stands for.
    """

    entries: int
    unreadable: int
    bytes: int
    unknown_entries: int
    known_ids: list[str]
    known: np.ndarray
    sample: np.ndarray
    unusable: int
    scale: float


def _survey(lake: Lake, source: str, layout: str) -> _Survey:
    entries = list(list_source(source, layout))
    readable = [entry for entry in entries if not entry.error]
    rows = lake.clips.known_columns(readable, ("uri", "clip", "frames", "width", "height"))
    uris = pa.array([entry.uri for entry in readable], pa.string())
    met = pc.is_in(uris, value_set=rows["uri"]).to_pylist()
    unknown = [entry for entry, known in zip(readable, met, strict=True) if not known]
    sample, unusable = _headers(unknown[:: max(1, -(-len(unknown) // HEADERS_READ))])
    sizes = [(name, "max") for name in ("frames", "width", "height")]
    clips = rows.group_by("clip").aggregate(sizes)
    frames, width, height = (clips[f"{name}_max"].to_numpy().astype(float) for name, _ in sizes)
    return _Survey(
        entries=len(entries),
        unreadable=len(entries) - len(readable),
        bytes=sum(entry.size for entry in readable),
        unknown_entries=len(unknown),
        known_ids=clips["clip"].to_pylist(),
        known=np.stack([frames, width * height], axis=1),
        sample=sample,
        unusable=unusable,
        scale=len(unknown) / max(1, len(sample) + unusable),
    )


def _headers(entries: Sequence[Entry]) -> tuple[np.ndarray, int]:
    """(frames, pixels) of each readable header, and how many held no video."""
    sizes: list[tuple[float, float]] = []
    unusable = 0
    for entry in entries:
        try:
            with open_source(entry.uri) as source:
                headers = read_headers(source)
        except Exception:  # every remote file system raises its own
            unusable += 1
        else:
            sizes.append((headers.frames, headers.width * headers.height))
    return np.array(sizes, float).reshape(-1, 2), unusable
