"""What another light changed, told apart into portrait and ground."""

import numpy as np
import pytest

from evaluation.light_change import light_change

MATTE = np.zeros((8, 8), np.uint8)
MATTE[2:6, 2:6] = 255
MATTE[2:6, 6] = 128  # a soft edge is neither


def test_portrait_and_ground_are_told_apart_and_the_soft_edge_is_neither():
    frame = np.full((8, 8, 3), 100, np.uint8)
    lit = frame.copy()
    lit[2:6, 2:6] += 20
    lit[2:6, 6] = 255
    change = light_change([frame] * 3, [lit] * 3, [MATTE] * 3)
    assert (change.portrait, change.ground, change.frames) == (20, 0, 3)


def test_darker_counts_as_brighter_does():
    frame = np.full((8, 8, 3), 100, np.uint8)
    assert light_change([frame], [frame - 7], [MATTE]).ground == 7


def test_films_of_other_lengths_are_refused():
    frame = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="shorter"):
        light_change([frame] * 2, [frame], [MATTE] * 2)


def test_a_matte_without_portrait_is_refused():
    frame = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="0 pixels of portrait"):
        light_change([frame], [frame], [np.zeros((8, 8), np.uint8)])
