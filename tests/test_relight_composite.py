"""Cutting a face out, and pasting another one back: seams, grounds, and what is held meanwhile."""

from fractions import Fraction
from functools import partial
from tempfile import TemporaryFile

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.frames import SourceFrames
from training.relight.composite import (
    composited,
    everywhere,
    over_own_ground,
    over_still_ground,
    portrait_share,
)
from training.relight.conditions import DrawnConditions, signed, unsigned
from training.relight.crop import FIT_SIZE, FaceSquare
from training.relight.grid import PANEL, GridWriter
from training.samples.view import View

PICTURE = (150, 110)
"""Width and height."""


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def ground(seed: int = 0) -> np.ndarray:
    return noise(seed, *PICTURE[::-1], 3)


def disc(radius: float) -> np.ndarray:
    """A soft round matte, faintly unsure of its ground, (FIT_SIZE, FIT_SIZE) uint8."""
    across = np.linspace(-1, 1, FIT_SIZE)
    distance = np.hypot(across[:, None], across)
    return (255 * np.clip((radius - distance) / 0.1 + 0.5, 0.01, 0.99)).astype(np.uint8)


class Ahead:
    """A matting model that gives one matte, and looks ahead by some frames."""

    def __init__(self, matte: np.ndarray, frames: int = 0) -> None:
        self.matte, self.frames, self.seen = matte, frames, 0

    def masks(self, frames, side):
        waiting = 0
        for frame in frames:
            assert frame.ndim == 3
            self.seen += 1
            waiting += 1
            if waiting > self.frames:
                waiting -= 1
                yield self.matte
        for _ in range(waiting):
            yield self.matte


INSIDE = FaceSquare((40, 10, 80, 80), PICTURE)
squares = st.builds(
    lambda x, y, side: FaceSquare((x, y, side, side), PICTURE),
    st.integers(-15, 100),
    st.integers(-15, 70),
    st.integers(16, 160),
)


@settings(max_examples=25, deadline=None)
@given(squares, st.integers(0, 100))
def test_outside_of_the_portrait_the_ground_is_the_original_to_the_bit(square, seed):
    picture, portrait = ground(seed), noise(seed + 1, 64, 64, 3)
    looks, matting = [(picture, portrait)], Ahead(disc(0.6))
    weigh = partial(over_own_ground, square=square, matting=matting)
    (result,) = composited(looks, square, weigh)
    x, y, side, _ = square.crop
    reach = np.zeros(PICTURE[::-1], bool)
    share = square.resize(portrait_share(disc(0.6)))
    rows, columns = (np.arange(start, start + side) for start in (y, x))
    inside = np.ix_((rows >= 0) & (rows < PICTURE[1]), (columns >= 0) & (columns < PICTURE[0]))
    visible = [each[(each >= 0) & (each < limit)] for each, limit in ((rows, 110), (columns, 150))]
    reach[np.ix_(*visible)] = share[inside] > 0
    np.testing.assert_array_equal(result[~reach], picture[~reach])


def test_the_portrait_itself_shows_where_the_matte_is_sure():
    picture, portrait = ground(), noise(1, 80, 80, 3)
    square = INSIDE
    weigh = partial(over_own_ground, square=square, matting=Ahead(disc(0.6)))
    (result,) = composited([(picture, portrait)], square, weigh)
    np.testing.assert_array_equal(result[40:60, 70:90], portrait[30:50, 30:50])
    np.testing.assert_array_equal(picture, ground())


def test_a_still_ground_shows_only_where_neither_portrait_is_or_was():
    picture, portrait = np.zeros((110, 150, 3), np.uint8), np.full((80, 80, 3), 255, np.uint8)
    was, wide = disc(0.4), disc(0.8)
    for reference, generated in ((was, wide), (wide, was)):
        weigh = partial(over_still_ground, reference=reference, matting=Ahead(generated))
        (result,) = composited([(picture, portrait)], INSIDE, weigh)
        share = INSIDE.resize(portrait_share(wide))
        shown = result[10:90, 40:120, 0]
        assert (shown[(share == 1) & (INSIDE.border == 1)] == 255).all()
        assert (shown[share == 0] == 0).all()


def test_a_square_that_is_regenerated_fades_where_it_ends_but_not_at_the_picture_s_edge():
    picture, portrait = np.zeros((110, 150, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8)
    square = FaceSquare((-10, 20, 90, 90), PICTURE)  # ends with the picture below and on its left
    (result,) = composited([(picture, portrait)], square, everywhere)
    shown = result[..., 0].astype(int)
    assert (shown[30:110, :60] == 200).all()
    assert (shown[:20] == 0).all()
    assert (shown[:, 80:] == 0).all()
    assert np.abs(np.diff(shown[60])).max() < 90  # no seam, at 5 pixels of fading
    assert np.abs(np.diff(shown[:, 30])).max() < 90


@given(squares)
@settings(max_examples=20, deadline=None)
def test_what_is_cut_out_and_pasted_back_leaves_the_picture_as_it_was(square):
    smooth = cv2.GaussianBlur(ground(), (0, 0), 6)
    size = FIT_SIZE
    back = square.paste(smooth, square.cut(smooth, size), np.ones((size, size), np.float32))
    assert np.abs(back.astype(int) - smooth).max() <= 4


def test_a_matte_is_exact_where_it_all_but_is():
    share = portrait_share(np.array([0, 3, 8, 128, 247, 252, 255], np.uint8))
    np.testing.assert_array_equal(share[[0, 1, 2]], 0)
    np.testing.assert_array_equal(share[[4, 5, 6]], 1)
    assert share[3] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("kind", ["own", "still", "regenerate"])
def test_no_more_frames_are_drawn_than_the_matting_looks_ahead(kind):
    drawn = 0

    def looks():
        nonlocal drawn
        for _ in range(30):
            drawn += 1
            yield ground(), noise(1, 64, 64, 3)

    matting = Ahead(disc(0.5), frames=5)
    weigh = {
        "own": partial(over_own_ground, square=INSIDE, matting=matting),
        "still": partial(over_still_ground, reference=disc(0.5), matting=matting),
        "regenerate": everywhere,
    }[kind]
    made = 0
    for _ in composited(looks(), INSIDE, weigh):
        made += 1
        assert drawn - made <= 5
    assert made == 30


# What the network is shown.


def drawing(seed: int, size: int = 64) -> np.ndarray:
    """Something small on black; or nothing."""
    picture = np.zeros((size, size, 3), np.uint8)
    if seed % 4:
        picture[seed % 30 : seed % 30 + 20, 5 : 5 + seed % 50] = noise(seed, 20, seed % 50, 3)
    return picture


def test_drawings_come_back_from_the_disk_as_they_were():
    drawn = [drawing(seed) for seed in range(12)]
    with DrawnConditions(64, TemporaryFile) as conditions:
        conditions.draw("shading", iter(drawn))
        conditions.draw("landmarks", reversed(drawn))
        for slot in (7, 0, 11, 4):
            np.testing.assert_array_equal(conditions.picture("shading", slot), drawn[slot])
        found = conditions([3, 9])
    wanted = torch.from_numpy(np.stack([drawn[3], drawn[9]])).permute(0, 3, 1, 2) / 255
    assert torch.equal(found["shading"], wanted)
    assert torch.equal(found["landmarks"][0] * 255, torch.from_numpy(drawn[8]).permute(2, 0, 1))


def test_pictures_go_to_the_network_and_back_unchanged():
    picture = noise(5, 16, 16, 3)
    assert signed(picture).abs().max() <= 1
    np.testing.assert_array_equal(unsigned(signed(picture)[None])[0], picture)


def test_a_square_seen_by_the_model_is_what_training_makes_of_a_release():
    square = INSIDE.cut(ground())
    assert square.shape == (FIT_SIZE, FIT_SIZE, 3)
    seen = View.full(FIT_SIZE, 64).pictures(square[None])[0]
    wanted = cv2.resize(square, (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(seen, wanted)


# The grid.


def test_a_grid_has_its_panels_in_order_and_a_sheet_of_some_rows(tmp_path):
    film, sheet = tmp_path / "grid.mp4", tmp_path / "sheet.jpg"
    greys = (40, 120, 220)
    sizes = zip((32, 600, 320), greys, strict=True)
    panels = [np.full((size, size, 3), grey, np.uint8) for size, grey in sizes]
    with GridWriter(film, sheet, ("one", "two", "three"), fps=Fraction(25), frames=7) as grid:
        for _ in range(7):
            grid.write(*panels)
    made = list(SourceFrames(film, budget=0))
    assert len(made) == 7
    middle = made[3][-PANEL // 2]
    third = len(middle) // 3
    assert [middle[third * k + third // 2].mean() for k in range(3)] == pytest.approx(greys, abs=3)
    with Image.open(sheet) as picture:
        rows = (picture.height - (made[0].shape[0] - PANEL - 8)) / (PANEL + 8)
    assert rows == 5
