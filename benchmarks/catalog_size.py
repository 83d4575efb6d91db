"""The catalog at size: a million clips, each with an outcome in every stage.

Run ``python benchmarks/catalog_size.py``; it prints one line of JSON. The lake is made in a folder
of its own first (about a minute, 1 GB), and measured in fresh processes, each of which reads
what it needs from the disk (the file system's cache is warm). The limits in seconds hold for a
catalog in which each stage was computed once a clip; what reruns cost on top is shown beside.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import flows.plan
from catalog import clips, outcomes
from catalog.lake import Lake
from catalog.members import Member, Recipe, member_ids, remember
from catalog.query import query
from flows.calibration import Calibration
from flows.config import BuildConfig

CLIPS = 1_000_000
STAGES = ("probe", "quality", "landmarks", "frame", "matting", "geometry", "kpmap")
LIMITS = {"status": 2.0, "query": 2.0, "plan": 60.0}
MEMORY_LIMIT = 1.5e9
LISTING = "../list.parquet"
_BATCH = 125_000
_WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def fingerprints() -> dict[str, str]:
    """A made-up fingerprint for each stage."""
    return {stage: f"{number:016x}" for number, stage in enumerate(STAGES)}


def fill(lake: Lake) -> list[str]:
    """Write the catalog, in batches as a large build would; the clips' ids."""
    dice = np.random.default_rng(0)
    clip_ids = [dice.bytes(16).hex() for _ in range(CLIPS)]
    for start in range(0, CLIPS, _BATCH):
        ids = clip_ids[start : start + _BATCH]
        lake.clips.table.append(_clip_rows(ids, start))
        for number, stage in enumerate(STAGES):
            lake.outcomes.table.append(_outcome_rows(ids, stage, number, dice))
    lake.outcomes.compact()
    # From 1: a size or time of 0 counts as unknown.
    numbers = pa.array(range(1, CLIPS))
    uris = [f"s3://bucket/talking%20heads/{n:07d}.mp4" for n in range(1, CLIPS)]
    listing = pa.table({"uri": uris, "size": numbers, "mtime_ns": numbers})
    pq.write_table(listing, lake.root / LISTING)
    members = [Member(clip, "clip.mp4", "somebody", "train") for clip in clip_ids]
    remember(lake, Recipe("million", "s3://bucket", {}, fingerprints()), members)
    return clip_ids


def rerun(lake: Lake, ids: list[str]) -> None:
    """Compute some clips a second time, in every stage."""
    dice = np.random.default_rng(1)
    for number, stage in enumerate(STAGES):
        lake.outcomes.table.append(_outcome_rows(ids, stage, number, dice))


def _clip_rows(ids: list[str], start: int) -> pa.Table:
    numbers = range(start, start + len(ids))
    count = len(ids)
    columns = {
        "clip": ids,
        "uri": [f"s3://bucket/talking%20heads/{n:07d}.mp4" for n in numbers],
        "label": [f"{n:07d}.mp4" for n in numbers],
        "size": list(numbers),
        "mtime_ns": list(numbers),
        "layout": ["plain"] * count,
        "identity": [f"person{n // 10}" for n in numbers],
        "run": ["build"] * count,
        "added_at": [_WHEN] * count,
        "frames": [300] * count,
        "width": [1280] * count,
        "height": [720] * count,
        "fps": [30.0] * count,
        "duration": [10.0] * count,
        "codec": ["h264"] * count,
    }
    return pa.table(columns, schema=clips.SCHEMA)


def _outcome_rows(ids: list[str], stage: str, number: int, dice: np.random.Generator) -> pa.Table:
    count = len(ids)
    draw = dice.random(count)
    status = np.where(draw < 0.9, "done", np.where(draw < 0.99, "rejected", "failed"))
    artifact = [{"name": "video.mp4", "digest": clip + clip, "size": 1 << 20} for clip in ids]
    columns = {
        "clip": ids,
        "stage": [stage] * count,
        "fingerprint": [fingerprints()[stage]] * count,
        "status": status,
        "reason": ["" if word == "done" else "no face in half of the frames" for word in status],
        "score": draw,
        "facts": [f'{{"coverage": {d:.4f}, "frames": 300, "fps": "30/1"}}' for d in draw],
        "artifacts": [[one] for one in artifact] if number >= 2 else [[]] * count,
        "seconds": draw,
        "frames": [300] * count,
        "attempts": [1] * count,
        "worker": [f"worker-{n % 64}" for n in range(count)],
        "error": [""] * count,
        "stderr": [""] * count,
        "command": [""] * count,
        "run": ["build"] * count,
        "finished_at": [datetime.now(UTC)] * count,
    }
    return pa.table(columns, schema=outcomes.SCHEMA)


def status(lake: Lake) -> None:
    """What ``limelight status`` asks: how many clips ended how, stage by stage."""
    members = member_ids(lake, "million")
    lines = lake.outcomes.counts(fingerprints(), members, since=_WHEN)
    assert sum(line.clips for line in lines) == CLIPS * len(STAGES)


def question(lake: Lake) -> None:
    """Reasons for which clips were turned down, over every outcome that counts."""
    rows = query(
        lake,
        "select stage, status, reason, count(*) as clips, avg(score) from outcomes "
        "where status <> 'done' group by all order by clips desc",
    )
    assert rows.num_rows == 2 * len(STAGES)


def plan(lake: Lake) -> None:
    """What ``limelight plan`` does with a list of them all, but for the calibration's build."""
    speeds = dict.fromkeys(STAGES, 0.005)
    made_up = Calibration(fingerprints(), speeds, speeds, 2, 10.0, 5.0, 30_000.0)
    with patch.object(flows.plan, "calibrate", lambda config, settings: made_up):
        predicted = flows.plan.make_plan(lake, str(lake.root / LISTING), BuildConfig())
    assert predicted.known == CLIPS - 1


MEASURED: dict[str, Callable[[Lake], None]] = {
    "status": status,
    "query": question,
    "plan": plan,
}


def measure(root: Path, name: str) -> dict[str, float]:
    """Seconds (best of three), CPU seconds and peak memory, in a process of its own."""
    answer = subprocess.run(
        [sys.executable, __file__, str(root), name],
        capture_output=True,
        check=True,
        text=True,
    )
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def _child(root: str, name: str) -> None:
    lake, seconds = Lake(root), []
    for _ in range(3):
        start = time.perf_counter()
        MEASURED[name](lake)
        seconds.append(time.perf_counter() - start)
    # Not getrusage: that peak is inherited from the parent, which has just made the lake.
    words = Path("/proc/self/status").read_text().split()
    peak = int(words[words.index("VmHWM:") + 1]) * 1024
    cpu = time.process_time() / len(seconds)
    print(json.dumps({"seconds": min(seconds), "cpu": cpu, "bytes": peak}))


def main() -> int:
    """Measure, print a line of JSON, and say by the exit code whether the limits are kept."""
    line: dict[str, object] = {
        "benchmark": "catalog",
        "clips": CLIPS,
        "outcomes": CLIPS * len(STAGES),
        "cores": os.cpu_count(),
    }
    kept = True
    with tempfile.TemporaryDirectory(prefix="limelight-bench-") as folder:
        lake = Lake.open(Path(folder) / "lake", create=True)
        ids = fill(lake)
        for case in ("fresh", "rerun"):
            if case == "rerun":  # a tenth of the clips has two rows a stage from here on
                rerun(lake, ids[: CLIPS // 10])
            for name, limit in LIMITS.items():
                found = measure(lake.root, name)
                for what, value in found.items():
                    line[f"{case}_{name}_{what}"] = round(value, 2)
                kept &= found["bytes"] < MEMORY_LIMIT
                if case == "fresh":
                    kept &= found["seconds"] < limit
    line["load"] = round(os.getloadavg()[0], 1)
    line["within_limits"] = kept
    print(json.dumps(line))
    return 0 if kept else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _child(*sys.argv[1:])
    else:
        sys.exit(main())
