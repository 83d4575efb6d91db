"""How fast this machine is: a small real build in a lake of its own, measured once and kept."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from catalog.lake import Lake
from catalog.verdicts import verdict
from flows.builder import Build, Request
from infra.digests import digest_json
from infra.engine.open import open_engine
from infra.errors import LimelightError
from infra.settings import Settings
from infra.storage import write_atomic
from stages.encode import VideoWriter
from stages.registry import fingerprints

FRAMES = 48
SIDES = (256, 768)
"""Two sizes of the same picture: what grows with the pixels shows in the difference."""

METHOD = 2
"""Raised whenever the same machine would be measured otherwise."""

FLOW_SECONDS = 5.0
"""Prefect's own share of a build: imports, the flow run's start and end."""


@dataclass(frozen=True)
class Calibration:
    """Measured speeds.

    Attributes:
        fingerprints: Of the stages measured.
        per_frame: Worker seconds a frame, by stage.
        per_megapixel: Worker seconds a million source pixels, by stage.
        workers: That ran side by side.
        start_seconds: Opening the engine, loading models, compiling: what comes once a build.
        flow_seconds: Prefect's own share.
        release_bytes_per_frame: Of a release.
    """

    fingerprints: Mapping[str, str]
    per_frame: Mapping[str, float]
    per_megapixel: Mapping[str, float]
    workers: int
    start_seconds: float
    flow_seconds: float
    release_bytes_per_frame: float

    def clip_seconds(self, stages: Sequence[str], sizes: np.ndarray) -> np.ndarray:
        """Worker seconds of each clip in each stage, float64 of shape (n, stages).

        Args:
            stages: Their names.
            sizes: (frames, pixels of a frame) of each clip, shape (n, 2).
        """
        frames, megapixels = sizes[:, :1], sizes[:, 1:] / 1e6
        per_frame = np.array([self.per_frame[stage] for stage in stages])
        per_megapixel = np.array([self.per_megapixel[stage] for stage in stages])
        return np.asarray(frames * (per_frame + megapixels * per_megapixel))


def calibrate(config: Any, settings: Settings) -> Calibration:
    """The calibration of this machine for a config; measured at first use (about 20 s)."""
    current = fingerprints(config.stages())
    key = digest_json(
        {
            "fingerprints": current,
            "machine": platform.node(),
            "processor": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "workers": settings.workers,
            "frames": FRAMES,
            "sides": list(SIDES),
            "method": METHOD,
        }
    )[:16]
    kept = settings.cache / "calibration" / f"{key}.json"
    if kept.is_file():
        # What another version of Limelight has kept may lack a field: then measured anew.
        with suppress(ValueError, TypeError):
            return Calibration(**json.loads(kept.read_text()))
    measured = _measure(config, settings, current)
    write_atomic(kept, json.dumps(asdict(measured), indent=2).encode(), point="calibration")
    return measured


def lenient(config: Any) -> Any:
    """The config without what might turn the calibration's clips down; it costs the same."""
    limits: dict[str, dict[str, Any]] = {
        "probe": {"min_frames": 1, "min_side": 16, "max_side": 8192, "min_fps": 1, "max_fps": 120},
        "quality": {"threshold": 0.0},
        "landmarks": {"min_face": 0.0, "max_missing": 1.0, "max_gap": FRAMES},
        "frame": {"min_face": 8},
    }
    return config.model_copy(
        update={
            stage: getattr(config, stage).model_copy(update=values)
            for stage, values in limits.items()
        }
    )


def _measure(config: Any, settings: Settings, current: Mapping[str, str]) -> Calibration:
    with TemporaryDirectory(prefix="limelight-calibration-") as folder:
        clips = Path(folder) / "clips"
        clips.mkdir()
        cores = settings.workers or len(os.sched_getaffinity(0))
        for side in SIDES:
            for copy in range(cores):
                _clip(clips / f"{side}-{copy}.mp4", side, copy)
        lake = Lake.open(Path(folder) / "lake", create=True)
        request = Request(str(clips), "calibration", lenient(config))
        build = Build(lake, request, lambda: open_engine("ray", settings), "calibration")
        try:
            started = time.monotonic()
            build.take_up()
            cold = _compute(build) - started
            members = {m.clip: int(m.label.partition("-")[0]) for m in build.members}
            # Once more: models are loaded now and code is compiled, as for nearly all the
            # clips of a large build. What the first time took longer is the start.
            first = lake.outcomes.of(list(members), build.fingerprints)
            lake.outcomes.void([outcome for made in first.values() for outcome in made.values()])
            started = time.monotonic()
            warm = _compute(build) - started
            release = build.pack()
        finally:
            build.close()
        outcomes = lake.outcomes.of(list(members), build.fingerprints)
        for clip in members:
            status, stage, reason = verdict(outcomes[clip], list(current))
            if status != "done":
                raise LimelightError(
                    f"this machine cannot be calibrated: stage {stage}: {reason}",
                    hint="a build of a few clips with this config shows what is wrong",
                )
        seconds = {
            (stage, side): float(
                np.mean([outcomes[c][stage].seconds for c, s in members.items() if s == side])
            )
            for stage in current
            for side in SIDES
        }
        bytes_packed = (
            sum(path.stat().st_size for path in release.path.rglob("*.tar")) if release else 0
        )
    small, large = SIDES
    per_megapixel = {
        stage: max(0.0, seconds[stage, large] - seconds[stage, small])
        / (FRAMES * (large**2 - small**2) / 1e6)
        for stage in current
    }
    return Calibration(
        fingerprints=dict(current),
        per_frame={
            stage: max(0.0, seconds[stage, small] / FRAMES - small**2 / 1e6 * per_megapixel[stage])
            for stage in current
        },
        per_megapixel=per_megapixel,
        workers=cores,
        start_seconds=max(0.0, cold - warm),
        flow_seconds=FLOW_SECONDS,
        release_bytes_per_frame=bytes_packed / (FRAMES * len(members)),
    )


def _compute(build: Build) -> float:
    """Run every stage; the time at the end."""
    for group in build.groups:
        for part in build.partitions(group):
            build.compute(group, part)
    return time.monotonic()


def _clip(path: Path, side: int, copy: int) -> None:
    """A portrait that drifts, as real footage of that size; each copy another content."""
    from skimage.data import astronaut

    picture = cv2.resize(astronaut()[..., :3], (side + 32, side + 32), interpolation=cv2.INTER_AREA)
    grain = np.random.default_rng(copy)
    with VideoWriter(path, size=(side, side), fps=Fraction(25)) as video:
        for frame in range(FRAMES):
            shift = round(16 + 15 * np.sin(frame / 8 + copy))
            view = picture[shift : shift + side, 16 : 16 + side].astype(np.int16)
            view += grain.integers(-2, 3, view.shape, dtype=np.int16)
            video.write(np.ascontiguousarray(view.clip(0, 255).astype(np.uint8)))
