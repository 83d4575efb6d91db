"""The model's change of light, laid over a film's own pixels."""

import numpy as np
import pytest

from infra.errors import UsageError
from training.relight.quotient import chosen_detail, light_laid_over


def noise(seed: int, side: int, low: int = 0, high: int = 256) -> np.ndarray:
    """A picture of random pixels."""
    drawn = np.random.default_rng(seed).integers(low, high, (side, side, 3))
    return drawn.astype(np.uint8)


def test_where_the_light_stays_the_film_stays_to_the_bit():
    own, generated = noise(0, 96), noise(1, 32)
    (laid,) = light_laid_over([own], [generated], [generated])
    assert (laid == own).all()


def test_a_light_from_the_left_brightens_the_left_and_darkens_the_right():
    before = np.full((32, 32, 3), 100, np.uint8)
    after = np.broadcast_to(np.linspace(180, 20, 32)[None, :, None], before.shape).astype(np.uint8)
    own = noise(2, 96, 90, 110)
    (laid,) = light_laid_over([own], [before], [after])
    change = laid.astype(float) - own
    assert change[:, :24].mean() > 20
    assert change[:, -24:].mean() < -20


def test_detail_of_what_was_generated_leaves_no_trace():
    own = np.full((96, 96, 3), 128, np.uint8)
    before = np.full((48, 48, 3), 128, np.uint8)
    after = before.copy()
    after[::2] += 16
    after[1::2] -= 16
    (laid,) = light_laid_over([own], [before], [after])
    middle = laid[16:-16].astype(int)  # at its edges a smoothed picture is its own mirror
    assert np.abs(middle - 128).max() <= 2


def test_no_light_multiplies_a_pixel_beyond_bounds():
    own = np.full((24, 24, 3), 60, np.uint8)
    dark, bright = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    (up,) = light_laid_over([own], [dark], [bright])
    (down,) = light_laid_over([own], [bright], [dark])
    assert up.max() <= 180
    assert down.min() >= 20


def test_films_of_different_lengths_are_no_films_of_one_portrait():
    picture = noise(3, 8)
    with pytest.raises(ValueError, match="shorter"):
        list(light_laid_over([picture, picture], [picture], [picture]))


ABLE = {"relit": True, "reference": False, "background": "composite"}


@pytest.mark.parametrize(
    ("hindrance", "why"),
    [
        ({"reference": True}, "--reference is not in the film"),
        ({"relit": False}, "no light is changed"),
        ({"background": "regenerate"}, "--background regenerate"),
    ],
)
def test_the_films_own_pixels_are_refused_where_they_cannot_be(hindrance, why):
    unable = {**ABLE, **hindrance}
    with pytest.raises(UsageError, match=why):
        chosen_detail("original", "generated", **unable)
    assert chosen_detail(None, "original", **unable) == "generated"
    assert chosen_detail("generated", "original", **unable) == "generated"


def test_the_model_chooses_where_the_user_does_not():
    assert chosen_detail(None, "original", **ABLE) == "original"
    assert chosen_detail(None, "generated", **ABLE) == "generated"
    assert chosen_detail("original", "generated", **ABLE) == "original"
    assert chosen_detail("generated", "original", **ABLE) == "generated"
