"""The matting stage: steady, without ghosts, and stored losslessly."""

from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base import Product
from stages.frames import SourceFrames
from stages.matting import Matting, MattingConfig, SteadyMasks, hard_mask
from stages.steadying import steady

SIDE = 32


class Portrait(list):
    """Frames of the normal form, ready made."""

    size = 512
    fps = Fraction(25)


def still(frames: int, seed: int = 0) -> list[np.ndarray]:
    picture = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return [picture] * frames


def flicker(alphas, still_pixels=None) -> float:
    """Mean difference of neighbouring alphas, over the pixels whose picture stands still."""
    changes = [np.abs(b.astype(float) - a) for a, b in pairwise(alphas)]
    if still_pixels is None:
        return float(np.mean(changes))
    return float(np.mean([c[s].mean() for c, s in zip(changes, still_pixels, strict=True)]))


@given(radius=st.integers(0, 12), frames=st.integers(1, 20))
@settings(max_examples=25)
def test_as_many_alphas_come_out_as_went_in(radius, frames):
    ramp = [np.full((SIDE, SIDE), i / 20, np.float32) for i in range(frames)]
    assert len(list(steady(zip(still(frames), ramp, strict=True), radius, 3.0))) == frames


def test_no_radius_changes_nothing():
    alphas = list(np.random.default_rng(1).random((5, SIDE, SIDE), np.float32))
    for out, alpha in zip(steady(zip(still(5), alphas, strict=True), 0, 3.0), alphas, strict=True):
        np.testing.assert_array_equal(out, alpha)


def test_flicker_on_a_still_picture_falls_to_less_than_a_quarter():
    alphas = list(np.random.default_rng(1).random((40, SIDE, SIDE), np.float32))
    out = list(steady(zip(still(40), alphas, strict=True), 8, 3.0))
    assert flicker(out) < 0.25 * flicker(alphas)


def test_an_edge_that_moves_leaves_no_ghost_and_does_not_lag():
    pictures, alphas = [], []
    for i in range(24):
        alpha = np.zeros((SIDE, SIDE), np.float32)
        alpha[:, : i + 4] = 1
        alphas.append(alpha)
        pictures.append(np.repeat((200 * alpha[..., None]).astype(np.uint8), 3, axis=2))
    for out, alpha in zip(steady(zip(pictures, alphas, strict=True), 8, 3.0), alphas, strict=True):
        np.testing.assert_allclose(out, alpha, atol=1e-3)


def test_the_same_film_backwards_is_steadied_the_same():
    rng = np.random.default_rng(2)
    looks = [
        (rng.integers(100, 106, (SIDE, SIDE, 3), np.uint8), rng.random((SIDE, SIDE), np.float32))
        for _ in range(20)
    ]
    forwards = list(steady(looks, 4, 3.0))
    backwards = list(steady(looks[::-1], 4, 3.0))[::-1]
    np.testing.assert_allclose(forwards, backwards, rtol=1e-5)


class Constant:
    """A net that finds the same alpha in every picture."""

    size = 256

    def __init__(self, alpha: np.ndarray) -> None:
        self.alpha = alpha

    def mattes(self, pictures):
        return (self.alpha.copy() for _ in pictures)


def stored_masks(product: Product) -> list[np.ndarray]:
    with av.open(str(product.files["mask.mp4"])) as film:
        return [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]


def matte(portrait: Portrait, folder, net=None, **config) -> tuple[Product, list[np.ndarray]]:
    folder.mkdir()
    stage = Matting(MattingConfig(**config))
    if net is None:
        stage.setup()
    else:
        stage._model = SteadyMasks(net, radius=8, stillness=3.0)
    product = stage.process(SimpleNamespace(portrait=portrait, scratch=folder))
    return product, stored_masks(product)


def test_masks_are_stored_as_they_were_made(tmp_path):
    alpha = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (256, 1))
    portrait = Portrait([np.zeros((512, 512, 3), np.uint8)] * 3)
    product, masks = matte(portrait, tmp_path / "a", Constant(alpha))
    expected = np.rint(255 * cv2.resize(alpha, (512, 512)))
    assert len(masks) == 3
    np.testing.assert_array_equal(masks[1], expected)
    assert product.facts["coverage"] == pytest.approx(0.5, abs=0.01)
    assert product.facts["notes"] == []


def test_an_empty_matte_is_noted(tmp_path):
    portrait = Portrait([np.zeros((512, 512, 3), np.uint8)] * 4)
    product, _ = matte(portrait, tmp_path / "a", Constant(np.zeros((256, 256), np.float32)))
    assert product.facts["notes"] == ["the matte is empty in 4 of 4 frames"]


def test_every_model_has_a_table_and_the_selfie_s_is_empty():
    for name in MattingConfig.model_fields["model"].annotation.__args__:
        config = MattingConfig(model=name)
        assert bool(dict(config.table())) == (name != "selfie")
        assert (name in config.deciding()) == (name != "selfie")


def test_a_hard_mask_takes_the_half_that_is_more_likely():
    alpha = np.arange(256, dtype=np.uint8).reshape(2, 8, 16)
    np.testing.assert_array_equal(hard_mask(alpha), alpha / 255 > 0.5)


@pytest.mark.parametrize("name", ["lp_d0.mp4", "lp_d18.mp4"])
def test_a_real_matte_flickers_at_most_half_as_much(name, shared, tmp_path):
    source = SourceFrames(shared / "media" / name, budget=1 << 30).at(range(40))
    portrait = Portrait(cv2.resize(frame, (512, 512)) for frame in source)
    moved = [cv2.absdiff(a, b).max(axis=2) for a, b in pairwise(portrait)]
    still_pixels = [cv2.blur(m.astype(np.float32), (5, 5)) < 2 for m in moved]
    _, alone = matte(portrait, tmp_path / "alone", temporal=0)
    _, steadied = matte(portrait, tmp_path / "steady")
    assert flicker(steadied, still_pixels) < 0.5 * flicker(alone, still_pixels)


def test_a_green_screen_is_keyed_out(shared, tmp_path):
    frames = SourceFrames(shared / "media" / "lp_d0.mp4", budget=1 << 30).at([0, 20, 40])
    _, masks = matte(Portrait(frames), tmp_path / "a", temporal=0)
    for frame, mask in zip(frames, masks, strict=True):
        picture = frame[:470].astype(int)  # below lies a black strip
        green = picture[..., 1] - np.maximum(picture[..., 0], picture[..., 2]) > 23
        person = mask[:470] > 127
        assert (green != person).mean() > 0.985
