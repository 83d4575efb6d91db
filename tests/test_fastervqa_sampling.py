"""Which frames and fragments FasterVQA sees: exactly the reference's, for its draws or ours."""

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.models.fastervqa.fragments import (
    ALIGNED,
    Plan,
    centred_frames,
    enlarged,
    fragment_corners,
    gather,
    segment_frames,
)
from stages.models.fastervqa.variants import VARIANTS
from tests.rule import blocks, generator, golden_arrays, golden_facts, pattern

FACTS = golden_facts("fastervqa_sampling")
ARRAYS = golden_arrays("fastervqa_sampling")
SEGMENTS = {"fastervqa_dataset(8x4,interval2)": 8, "fastervqa_mt_dataset(4x4,interval2)": 4}
GRIDS = {"fastervqa 7x7x32 aligned8": 7, "fastervqa-ms 5x5x32 aligned8": 5}


def lowest(high, shape):
    return np.zeros(shape, np.int64)


def highest(high, shape):
    return np.full(shape, high - 1)


class Formula:
    """The goldens' offsets: (5i + 3j + 7t + k) mod high at the k-th draw."""

    def __init__(self):
        self.draws = 0

    def __call__(self, high, shape):
        self.draws += 1
        i, j, t = np.indices(shape)
        return (5 * i + 3 * j + 7 * t + self.draws) % high


@pytest.mark.parametrize("sampler", SEGMENTS)
def test_frames_of_segments_are_the_references(sampler):
    rows = [row for row in FACTS["temporal"] if row["sampler"] == sampler]
    assert len(rows) >= 15
    for row in rows:
        for draw, key in ((lowest, "frames_offset0"), (highest, "frames_offset_max")):
            assert segment_frames(row["N"], SEGMENTS[sampler], draw).tolist() == row[key]


def test_centred_frames_are_the_references():
    rows = [row for row in FACTS["temporal"] if row["sampler"] == "vqa.py_demo(SampleFrames 32x1)"]
    assert len(rows) >= 15
    for row in rows:
        assert centred_frames(row["N"], 32).tolist() == row["frames"]


@pytest.mark.parametrize("sampler", GRIDS)
def test_corners_of_fragments_and_the_draws_behind_them_are_the_references(sampler):
    rows = [row for row in FACTS["spatial"] if row["sampler"] == sampler and not row["error"]]
    assert len(rows) >= 3
    for row in rows:
        calls = []

        def record(high, shape, calls=calls):
            calls.append(["torch.randint", high, list(shape)])
            return lowest(high, shape)

        y, x = fragment_corners((row["w"], row["h"]), GRIDS[sampler], 4, record)
        assert calls == row["randint_calls"]
        assert y[:, 0, 0].tolist() == row["row_origins"]
        assert x[0, :, 0].tolist() == row["col_origins"]
        assert (y == y[:, :1, :1]).all()
        assert (x == x[:1, :, :1]).all()


@pytest.mark.parametrize("golden", FACTS["golden"], ids=lambda golden: golden["name"])
def test_fragments_are_the_references(golden):
    name, frames, height, width = (golden[key] for key in ("name", "T", "h", "w"))
    size = (-(-frames // 8), -(-height // 24), -(-width // 24), 3)
    clip = blocks(generator(f"input:{name}"), 0, 180, size, (8, 24, 24))
    clip = clip[:frames, :height, :width]
    clip = clip + pattern(76, clip.shape)
    assert zlib.crc32(clip.tobytes()) == golden["input_crc32"]
    draw = lowest if golden["offset_mode"] == "zero" else Formula()
    grid = golden["params"]["fragments_h"]
    corners = fragment_corners((width, height), grid, frames // ALIGNED, draw)
    plan = Plan(np.arange(frames), corners)
    cut = np.stack([plan.cut(frame, place) for place, frame in enumerate(clip)])
    stored = cut[golden["stored_frames"]].astype(int)
    if "upscaled" in name:
        difference = np.abs(stored - ARRAYS[name])
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01
    else:
        np.testing.assert_array_equal(stored, ARRAYS[name])
        assert zlib.crc32(cut.tobytes()) == golden["full_crc32"]


@pytest.mark.parametrize(
    "row",
    [row for row in FACTS["spatial"] if row["upscaled_first"]],
    ids=lambda row: row["sampler"],
)
def test_small_frames_are_enlarged_to_the_references_size(row):
    side = row["output_shape"][-1]
    frame = np.zeros((row["h"], row["w"], 3), np.uint8)
    assert list(enlarged(frame, side).shape[:2]) == row["upscaled_size"]


def test_the_published_paths_draw_what_the_reference_draws_after_seeding():
    # The reference's own calls, in its order.
    starts = np.random.RandomState(3).randint(0, 22, size=8)
    seeded = torch.Generator().manual_seed(3)
    rows, columns = (torch.randint(high, (7, 7, 4), generator=seeded) for high in (41, 73))
    plan = Plan.make(VARIANTS["base"], 240, (737, 512), "dataset", "any clip", 3)
    assert plan.frames[::4].tolist() == (30 * np.arange(8) + starts).tolist()
    assert np.array_equal(plan.corners[0], 73 * np.arange(7)[:, None, None] + rows.numpy())
    assert np.array_equal(plan.corners[1], 105 * np.arange(7)[:, None] + columns.numpy())
    centred = Plan.make(VARIANTS["base"], 240, (737, 512), "centre", "any clip", 3)
    assert centred.frames.tolist() == list(range(104, 136))
    assert np.array_equal(centred.corners, plan.corners)


def same(one, other):
    return np.array_equal(one.frames, other.frames) and np.array_equal(one.corners, other.corners)


def test_a_clips_own_sampling_depends_on_its_id_and_the_draw_alone():
    def plan(clip, number):
        return Plan.make(VARIANTS["base"], 240, (640, 512), "clip", clip, number)

    assert same(plan("a", 0), plan("a", 0))
    assert not same(plan("a", 0), plan("a", 1))
    assert not same(plan("a", 0), plan("b", 0))


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 3000),
    width=st.integers(16, 4000),
    height=st.integers(16, 4000),
    variant=st.sampled_from(list(VARIANTS.values())),
    sampling=st.sampled_from(["clip", "dataset", "centre"]),
)
def test_every_plan_stays_within_the_clip(frames, width, height, variant, sampling):
    plan = Plan.make(variant, frames, (width, height), sampling, "id")
    assert plan.frames.shape == (variant.frames,)
    assert 0 <= plan.frames.min() <= plan.frames.max() < frames
    assert plan.corners.shape == (2, variant.grid, variant.grid, variant.frames // ALIGNED)
    assert plan.corners.min() >= 0
    for corners, length in zip(plan.corners, (height, width), strict=True):
        assert corners.max() <= max(length - 32, 0)


def test_a_frame_smaller_than_a_fragment_is_cut_all_the_same():
    plan = Plan.make(VARIANTS["mt"], 4, (16, 20))
    assert (
        plan.cut(np.full((20, 16, 3), 9, np.uint8), 0).tolist()
        == np.full((224, 224, 3), 9).tolist()
    )


def test_gathering_cuts_every_plans_frames_in_its_own_order():
    class Reel(list):
        asked = ()

        def pick(self, indices):
            self.asked = sorted(indices)
            return ((index, self[index]) for index in self.asked)

    random = np.random.default_rng(5)
    reel = Reel(random.integers(0, 256, (20, 240, 250, 3), dtype=np.uint8))
    plans = [Plan.make(VARIANTS["mt"], 20, (250, 240), "clip", "id", n) for n in range(2)]
    clips = gather(reel, plans)
    assert reel.asked == sorted({index for plan in plans for index in plan.frames.tolist()})
    for clip, plan in zip(clips, plans, strict=True):
        for place, index in enumerate(plan.frames):
            assert np.array_equal(clip[place], plan.cut(reel[index], place))
