"""The quality stage: its sampling, its score, its decisions."""

from fractions import Fraction
from io import BytesIO
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from skimage.data import astronaut

from infra.errors import WeightsError
from infra.weights import weight_path
from stages.base import Rejected
from stages.frames import SourceFrames
from stages.models.naturalness import FRAGMENT, Naturalness, Terms, cut_fragments
from stages.quality import Quality, QualityConfig

MODEL = Naturalness()
HELD_OUT = ("lp_d18", "lp_s18", "hdtf_WDA_DebbieDingell1_000", "konvid_10053703034")
TALKING_HEADS = (*HELD_OUT[:3], "lp_d0", "lp_d10", "lp_d12", "lp_d20")


def read(path: Path, frames: int) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        decoded = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return list(islice(decoded, frames))


class Reel(list):
    """Frames as a source gives them."""

    def at(self, indices):
        return [self[index] for index in indices]


def score_of_file(path: Path) -> float:
    return MODEL(SourceFrames(path, budget=1 << 30), "clip").score


def verdict_on(frames):
    return MODEL(Reel(frames), "clip")


def score(frames) -> float:
    return verdict_on(frames).score


def panned(frames=12):
    picture = astronaut()
    return [picture[64 + i : 320 + i, 100 + 2 * i : 356 + 2 * i] for i in range(frames)]


def blur(frames, sigma=1.7):
    return [cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames]


def add_noise(frames, sigma=7.0):
    random = np.random.default_rng(7)
    noisy = [frame + random.normal(0, sigma, frame.shape) for frame in frames]
    return [np.clip(np.rint(frame), 0, 255).astype(np.uint8) for frame in noisy]


def rescale(frames, factor=4):
    height, width = frames[0].shape[:2]
    small = [cv2.resize(f, (width // factor, height // factor)) for f in frames]
    return [cv2.resize(f, (width, height), interpolation=cv2.INTER_CUBIC) for f in small]


def compress(frames, crf=45):
    file = BytesIO()
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        for frame in frames:
            cropped = np.ascontiguousarray(frame[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(cropped, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


DISTORTIONS = {"blur": blur, "noise": add_noise, "rescale": rescale, "h264": compress}


@pytest.mark.parametrize("distortion", DISTORTIONS)
@pytest.mark.parametrize("name", HELD_OUT)
def test_a_distorted_clip_scores_below_the_clip(shared, name, distortion):
    frames = read(shared / "media" / f"{name}.mp4", frames=24)
    assert score(DISTORTIONS[distortion](frames)) < score(frames)


@pytest.mark.parametrize("distort", [blur, add_noise], ids=["blur", "noise"])
def test_the_score_falls_with_the_strength(distort):
    frames = panned()
    scores = [score(frames), *(score(distort(frames, sigma)) for sigma in (1, 2, 4, 6))]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)


@pytest.mark.parametrize("name", TALKING_HEADS)
def test_talking_heads_are_kept_by_the_default_threshold(shared, name):
    assert score_of_file(shared / "media" / f"{name}.mp4") > QualityConfig().threshold + 0.05


def test_the_demo_clips_fall_on_their_sides_of_the_default_threshold():
    try:
        names = ("carphone_distorted", "carphone_pristine", "bikes", "bigbuckbunny")
        scores = {name: score_of_file(weight_path(f"clip_{name}")) for name in names}
    except WeightsError as error:
        pytest.skip(f"needs the demo clips: {error.message}")
    threshold = QualityConfig().threshold
    assert scores.pop("carphone_distorted") < threshold - 0.1
    assert min(scores.values()) > threshold + 0.1


def test_a_pan_over_a_good_photograph_is_kept():
    assert score(panned()) > QualityConfig().threshold


def test_a_picture_is_not_worse_for_being_small():
    small = [cv2.resize(f, (128, 128), interpolation=cv2.INTER_AREA) for f in panned()]
    assert score(small) > QualityConfig().threshold


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_picture_without_content_scores_near_zero(level):
    frames = [np.full((240, 320, 3), level, np.uint8)] * 4
    verdict = verdict_on(frames)
    assert verdict.score < 0.05
    assert "empty" in verdict.complaint


def test_a_still_picture_is_not_worse_for_standing_still():
    assert score(panned()[:1] * 16) >= score(panned())


@pytest.mark.parametrize("shift", [-6, 6])
def test_a_shift_of_brightness_changes_nothing_but_clipped_pixels(shift):
    frames = [np.clip(frame, 10, 245) for frame in panned()]
    assert score([frame + np.int8(shift) for frame in frames]) == pytest.approx(
        score(frames), abs=1e-3
    )


def test_equal_frames_have_equal_verdicts():
    assert verdict_on(panned()) == verdict_on(panned())


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(16, 90),
    width=st.integers(16, 90),
    seed=st.integers(0, 99),
    n=st.integers(1, 5),
)
def test_any_picture_has_a_score_between_0_and_1(height, width, seed, n):
    random = np.random.default_rng(seed)
    frames = [random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(n)]
    verdict = verdict_on(frames)
    assert 0 <= verdict.score <= 1
    assert all(np.isfinite(value) for value in verdict.facts.values())


def test_a_picture_smaller_than_two_blocks_is_refused():
    with pytest.raises(ValueError, match="320x15: both sides must be 16"):
        cut_fragments(np.zeros((15, 320, 3), np.uint8), grid=7)


@given(frames=st.integers(2, 100_000), groups=st.integers(1, 64))
def test_groups_are_pairs_of_consecutive_frames_that_do_not_overlap(frames, groups):
    indices = Naturalness(groups).indices(frames)
    assert indices[1::2] == [index + 1 for index in indices[0::2]]
    assert len(set(indices)) == len(indices) <= 2 * groups
    assert indices == sorted(indices)
    assert indices[0] >= 0
    assert indices[-1] < frames


@settings(deadline=None)
@given(height=st.integers(16, 700), width=st.integers(16, 700), grid=st.integers(1, 9))
def test_fragments_lie_on_the_block_grid_and_do_not_overlap(height, width, grid):
    # Pixels that carry their number, in one colour channel: luma, divided by its weight.
    frame = np.zeros((height, width, 3), np.float32)
    frame[..., 1] = np.arange(height * width).reshape(height, width)
    fragments = np.rint(cut_fragments(frame, grid) / 0.587).astype(int)
    side = fragments.shape[1]
    assert side == min(FRAGMENT, height // 8 * 8, width // 8 * 8)
    assert len(fragments) == min(grid, height // side) * min(grid, width // side)
    assert len(np.unique(fragments)) == fragments.size
    assert not np.any(fragments[:, 0, 0] // width % 8)
    assert not np.any(fragments[:, 0, 0] % width % 8)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (Terms(softness=7, noise=0.1, blockiness=0.02, emptiness=0.1), "blur or upscaling"),
        (Terms(softness=3, noise=9.0, blockiness=0.02, emptiness=0.1), "noise"),
        (Terms(softness=5, noise=0.1, blockiness=0.40, emptiness=0.1), "compression artefacts"),
        (Terms(softness=4, noise=0.0, blockiness=0.00, emptiness=9.0), "empty"),
    ],
)
def test_the_complaint_names_the_worst_term(terms, words):
    assert words in terms.complaint


def clip_of(frames):
    return SimpleNamespace(id="clip", source=Reel(frames))


def test_the_stage_records_score_and_terms():
    stage = Quality(QualityConfig())
    stage.setup()
    product = stage.process(clip_of(panned()))
    assert product.score == score(panned())
    assert product.facts["looked_at"] == MODEL.indices(12)
    assert {"softness", "noise", "blockiness", "emptiness"} <= product.facts.keys()


def test_the_stage_rejects_below_the_threshold_and_says_why():
    stage = Quality(QualityConfig(threshold=0.6))
    stage.setup()
    with pytest.raises(Rejected) as rejected:
        stage.process(clip_of(add_noise(panned(), 25)))
    assert "is below the threshold 0.60 (noise dominates" in rejected.value.reason
    assert rejected.value.score is not None
    assert rejected.value.score < 0.6
    assert rejected.value.facts["noise"] > 10


def test_the_threshold_decides():
    stage = Quality(QualityConfig(threshold=0.0))
    stage.setup()
    assert stage.process(clip_of(add_noise(panned(), 25))).score < 0.1


@pytest.mark.parametrize(("model", "threshold"), [("classical", 0.5), ("fastervqa", 0.6)])
def test_a_model_brings_its_own_threshold(model, threshold):
    assert QualityConfig(model=model).threshold == threshold
    assert QualityConfig(model=model, threshold=0.3).threshold == 0.3
    kept = QualityConfig(model=model).model_dump(mode="json")
    assert kept["threshold"] == threshold


@pytest.mark.parametrize("bad", [{"threshold": 1.5}, {"groups": 0}, {"model": "mos"}])
def test_a_bad_config_is_refused(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        QualityConfig(**bad)
