"""A plan adds up what is missing; made-up speeds, so that every sum can be checked by hand."""

from fractions import Fraction
from io import BytesIO

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFile

import flows.plan
from catalog.clips import ClipRow
from catalog.lake import Lake
from catalog.outcomes import Outcome
from flows.calibration import Calibration, lenient
from flows.config import BuildConfig, parse_config
from flows.plan import make_plan
from stages.encode import VideoWriter
from stages.registry import fingerprints

CONFIG = BuildConfig()
STAGES = [stage.name for stage in CONFIG.stages()]
PRINTS = fingerprints(CONFIG.stages())
MEGAPIXEL = 1000 * 1000

CALIBRATION = Calibration(
    fingerprints=PRINTS,
    # Each stage ten times the one before, so that a sum tells its parts.
    per_frame={name: 10.0 ** (i - 6) for i, name in enumerate(STAGES)},
    per_megapixel={**dict.fromkeys(STAGES, 0.0), "probe": 0.5},
    workers=4,
    start_seconds=2.0,
    flow_seconds=3.0,
    release_bytes_per_frame=100.0,
)
A_FRAME = sum(CALIBRATION.per_frame.values())


@pytest.fixture(autouse=True)
def speeds(monkeypatch):
    monkeypatch.setattr(flows.plan, "calibrate", lambda config, settings: CALIBRATION)


@pytest.fixture
def lake(tmp_path):
    return Lake.open(tmp_path / "lake", create=True)


def source(folder, number):
    """A list of clips that vouches for size and time, so that none of them need be there."""
    path = folder / "list.parquet"
    names = [f"file:///nowhere/{n}.mp4" for n in range(number)]
    columns = {"uri": names, "size": [1000] * number, "mtime_ns": [1] * number}
    pq.write_table(pa.table(columns), path)
    return str(path)


def meet(lake, sizes):
    """Let the lake know clips 0, 1, ... by their (frames, width, height)."""
    lake.clips.append(
        [
            ClipRow(
                f"c{n}", f"file:///nowhere/{n}.mp4", f"{n}.mp4", 1000, 1, "plain", "", "", **size
            )
            for n, size in enumerate({"frames": f, "width": w, "height": h} for f, w, h in sizes)
        ]
    )


def end(lake, clip, **statuses):
    lake.outcomes.append([Outcome(clip, s, PRINTS[s], status) for s, status in statuses.items()])


def seconds(plan):
    return {row["stage"]: row["worker seconds"] for row in plan.stages}


def test_a_known_clip_costs_its_frames_and_its_pixels(lake, tmp_path):
    meet(lake, [(100, 2000, 1000)])
    plan = make_plan(lake, source(tmp_path, 1), CONFIG)
    assert (plan.clips, plan.known, plan.frames, plan.source_bytes) == (1, 1, 100, 1000)
    assert seconds(plan)["kpmap"] == 100.0
    assert seconds(plan)["probe"] == 100.0  # 100 frames of two megapixels, 0.5 s each
    assert plan.bottleneck in ("probe", "kpmap")
    assert plan.release_bytes == 10_000


def test_the_time_is_the_even_share_of_the_workers(lake, tmp_path):
    meet(lake, [(10, 0, 0)] * 8)
    plan = make_plan(lake, source(tmp_path, 8), CONFIG)
    assert plan.seconds == pytest.approx(3 + 2 + 8 * 10 * A_FRAME / 4, abs=0.1)


def test_one_long_clip_takes_its_own_time_however_many_workers_there_are(lake, tmp_path):
    meet(lake, [(1000, 0, 0), (1, 0, 0)])
    plan = make_plan(lake, source(tmp_path, 2), CONFIG)
    assert plan.seconds == pytest.approx(3 + 2 + 1000 * A_FRAME, abs=0.1)


def test_a_long_clip_that_is_done_holds_nobody_up(lake, tmp_path):
    meet(lake, [(1000, 0, 0), *[(10, 0, 0)] * 4])
    end(lake, "c0", **dict.fromkeys(STAGES, "done"))
    plan = make_plan(lake, source(tmp_path, 5), CONFIG)
    assert plan.seconds == pytest.approx(3 + 2 + 10 * A_FRAME, abs=0.1)


@pytest.mark.parametrize(
    "ended",
    [
        dict.fromkeys(STAGES, "done"),
        {"probe": "rejected"},
        {"probe": "done", "quality": "rejected"},
        {"landmarks": "quarantined"},
    ],
)
def test_where_every_clip_has_ended_nothing_is_missing(lake, tmp_path, ended):
    meet(lake, [(1000, 0, 0)])
    end(lake, "c0", **ended)
    plan = make_plan(lake, source(tmp_path, 1), CONFIG)
    assert plan.bottleneck == "nothing is missing"
    assert plan.seconds == 3.0
    assert plan.release_bytes == (100_000 if ended.get("kpmap") else 0)


def test_a_failed_stage_and_those_after_it_are_to_be_done(lake, tmp_path):
    meet(lake, [(100, 0, 0)])
    end(
        lake,
        "c0",
        **dict.fromkeys(STAGES, "done"),
    )
    end(lake, "c0", matting="failed")
    plan = make_plan(lake, source(tmp_path, 1), CONFIG)
    assert seconds(plan) == {**dict.fromkeys(STAGES, 0.0), "matting": 1.0}
    assert plan.bottleneck == "matting"


def test_copies_of_a_clip_are_planned_once(lake, tmp_path):
    row = {"label": "", "size": 1000, "mtime_ns": 1, "layout": "plain", "identity": ""}
    lake.clips.append(
        [ClipRow("same", f"file:///nowhere/{n}.mp4", **row, frames=50) for n in range(3)]
    )
    plan = make_plan(lake, source(tmp_path, 3), CONFIG)
    assert (plan.clips, plan.known, plan.frames) == (3, 3, 50)


def test_unknown_clips_are_judged_by_a_sample_of_their_headers(lake, tmp_path, monkeypatch):
    read = []

    def headers(entries):
        read.extend(entries)
        return flows.plan.np.array([(100.0, 0.0)] * len(entries)), 0

    monkeypatch.setattr(flows.plan, "_headers", headers)
    monkeypatch.setattr(flows.plan, "HEADERS_READ", 10)
    plan = make_plan(lake, source(tmp_path, 19), CONFIG)
    assert len(read) == 10
    assert plan.frames == 1900
    assert seconds(plan)["kpmap"] == 1900.0


def test_what_cannot_be_read_is_counted_and_costs_nothing(lake, tmp_path):
    plan = make_plan(lake, source(tmp_path, 3), CONFIG)
    assert (plan.clips, plan.unreadable, plan.frames) == (3, 3, 0)


def test_a_strict_config_is_calibrated_without_its_limits():
    strict = parse_config({"quality": {"threshold": 1.0}, "probe": {"min_frames": 5000}}, "test")
    relaxed = lenient(strict)
    assert (relaxed.quality.threshold, relaxed.probe.min_frames) == (0.0, 1)
    assert relaxed.frame == strict.frame.model_copy(update={"min_face": 8})


def test_of_remote_clips_only_the_headers_are_read(lake, tmp_path, monkeypatch):
    film = tmp_path / "film.mp4"
    random = np.random.default_rng(0)
    with VideoWriter(film, size=(256, 128), fps=Fraction(25), crf=1) as writer:
        for _ in range(40):
            writer.write(random.integers(0, 256, (128, 256, 3), np.uint8))
    fsspec.filesystem("memory").pipe("/plan/film.mp4", film.read_bytes())
    seen = 0

    def read(self, size=-1):
        nonlocal seen
        data = BytesIO.read(self, size)
        seen += len(data)
        return data

    monkeypatch.setattr(MemoryFile, "read", read, raising=False)
    plan = make_plan(lake, "memory://plan", CONFIG)
    assert (plan.clips, plan.frames, plan.unreadable) == (1, 40, 0)
    assert 0 < seen < film.stat().st_size / 4
