"""Portraits lit anew by a quotient image, to show a model one face under two lights.

Shashua and Riklin-Raviv (2001), "The quotient image: class-based re-rendering and recognition
with varying illuminations": of a surface under two lights, the ratio of the pictures is that of
the shadings, whatever its albedo. The fitted light explains pixel values as they are coded
(see `stages.models.light`), so the ratio too is one of coded values.

Shading is known on the face alone. Its ratio is carried to hair, neck and clothes by normalised
convolution (Knutsson and Westin 1993) over ever smaller neighbourhoods, and fades to 1 with the
portrait's soft alpha: the ground keeps its light.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from stages.models.light import LUMINANCE
from stages.models.shading import Surface
from stages.models.spherical_harmonics import COEFFICIENTS, CONSTANTS, far_lamp, shade

_LEAST = 0.15  # of the mean shading: what is darker is no measure of the light on it
_GAIN = 2.5  # most that a pixel is brightened or, over 1, darkened
_WHITE = 0.92  # luminance that all but the brightest skin stays below
_BRIGHTEST = 95  # percentile of the skin that this is asked of
_COARSE = 64  # side of the pictures on which the ratio is carried on, at least
_REACHES = (0.25, 0.1, 0.04, 0.02)  # standard deviations of the neighbourhoods, in pictures
_ENOUGH = 0.2  # share of a neighbourhood that must be face for its mean to be taken as it is


@dataclass(frozen=True)
class DrawnLight:
    """A light by four numbers: even light, and a far lamp.

    Attributes:
        azimuth: Where the lamp is, in radians: 0 before the face, above 0 to the picture's right.
        elevation: The same, above 0 up.
        strength: The lamp's share of the light, 0..1.
        energy: Mean brightness of the face, as a multiple of that under its own light.
    """

    azimuth: float
    elevation: float
    strength: float
    energy: float

    def beside(self, own: NDArray[np.float32], normals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coefficients (9, 3) of this light, in the colour and at the strength of another.

        Args:
            own: (9, 3), the other light.
            normals: float32 (P, 3), the face under both.
        """
        even = np.zeros(COEFFICIENTS)
        even[0] = 1 / CONSTANTS[0]
        # A lamp's mean over the half of the normals that it shines on is one half.
        lamp = 2 * far_lamp(self.azimuth, self.elevation)
        form = (1 - self.strength) * even + self.strength * lamp
        mean = float(shade(np.repeat(form[:, None], 3, 1), normals).mean())
        colour = shade(own, normals).mean(axis=0) * (self.energy / mean)
        return (form[:, None] * colour).astype(np.float32)


def relight(
    pictures: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    surfaces: Sequence[Surface],
    own: NDArray[np.float32],
    drawn: DrawnLight,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Put the frames of a window under one new light.

    Args:
        pictures: uint8 (n, S, S, 3).
        alpha: uint8 (n, S, S), the portrait.
        surfaces: What is seen of the face in each, at `coarse` (S) pixels a side.
        own: float32 (n, 9, 3), the light on each.
        drawn: The new light.

    Returns:
        The pictures lit anew, and the new light's coefficients, (9, 3); these frames as they
        were, and their mean light, where no face is seen.
    """
    normals = np.concatenate([each.normals for each in surfaces])
    mean = own.mean(axis=0)
    if not len(normals):
        return pictures, mean
    new = drawn.beside(mean, normals)
    lit = [ratio(surface, light, new) for surface, light in zip(surfaces, own, strict=True)]
    skin = [skin_of(picture, surface) for picture, surface in zip(pictures, surfaces, strict=True)]
    brighter = headroom(np.concatenate(skin), np.concatenate(lit))
    changed = [
        applied(picture, cover, gain(surface, each * brighter))
        for picture, cover, surface, each in zip(pictures, alpha, surfaces, lit, strict=True)
    ]
    return np.stack(changed), new * np.float32(brighter)


def coarse(size: int) -> int:
    """Side of the pictures on which `relight` wants the face's surface, for pictures of a size."""
    return max(size // 4, min(_COARSE, size))


def ratio(
    surface: Surface, own: NDArray[np.float32], new: NDArray[np.float32]
) -> NDArray[np.float32]:
    """New shading over old, float32 (P, 3): what is nearly black counts as a little lighter.

    Args:
        surface: What is seen of the face.
        own: (9, 3), the light on it.
        new: (9, 3), the light that it is to be under.
    """
    before, after = shade(own, surface.normals), shade(new, surface.normals)
    least = np.float32(_LEAST * max(float(before.mean()) if len(before) else 1.0, 1e-3))
    quotient: NDArray[np.float32] = np.divide(np.maximum(after, least), np.maximum(before, least))
    return quotient


def skin_of(picture: NDArray[np.uint8], surface: Surface) -> NDArray[np.uint8]:
    """Colours (P, 3) of a picture (S, S, 3), S as its surface's or larger, where that is seen."""
    small = cv2.resize(picture, surface.size[::-1], interpolation=cv2.INTER_AREA)
    return small.reshape(-1, 3)[surface.pixels].astype(np.uint8)


def headroom(skin: NDArray[np.uint8], ratios: NDArray[np.float32]) -> float:
    """Factor, at most 1, that keeps the skin from turning white.

    Args:
        skin: (P, 3), of all pictures that are to stay equally bright.
        ratios: (P, 3), what it will be multiplied by.
    """
    before = (skin / 255) @ LUMINANCE
    after = (skin / 255 * ratios) @ LUMINANCE
    limit = max(_WHITE, float(np.percentile(before, _BRIGHTEST)))
    return min(1.0, limit / max(float(np.percentile(after, _BRIGHTEST)), 1e-3))


def gain(surface: Surface, ratios: NDArray[np.float32]) -> NDArray[np.float32]:
    """A ratio (P, 3) that is known on a surface, as a smooth gain everywhere, (h, w, 3)."""
    height, width = surface.size
    if not len(ratios):
        return np.ones((height, width, 3), np.float32)
    logarithms = np.log(np.clip(ratios, 1 / _GAIN, _GAIN))
    flat = np.zeros((height * width, 4), np.float32)
    flat[surface.pixels] = np.concatenate([logarithms, np.ones_like(ratios[:, :1])], axis=1)
    known = flat.reshape(height, width, 4)
    mean = logarithms.mean(axis=0)
    value = np.broadcast_to(mean, (height, width, 3)).astype(np.float32)
    for reach in _REACHES:
        near = np.asarray(
            cv2.GaussianBlur(known, (0, 0), reach * width, borderType=cv2.BORDER_CONSTANT)
        )
        trust = np.minimum(near[..., 3:] / _ENOUGH, 1)
        local = near[..., :3] / np.maximum(near[..., 3:], 1e-6)
        value += trust * (local - value)
    return np.exp(value)


def applied(
    picture: NDArray[np.uint8], alpha: NDArray[np.uint8], gains: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """A picture (S, S, 3) times gains (h, w, 3) where alpha (S, S) is 255; where 0, as it was."""
    wide = np.asarray(cv2.resize(gains, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR))
    result = np.empty_like(picture)
    _multiply(picture, alpha, wide, result)
    return result


@njit(cache=True, nogil=True)
def _multiply(picture: Any, alpha: Any, gain: Any, result: Any) -> None:
    for row in range(picture.shape[0]):
        for column in range(picture.shape[1]):
            cover = alpha[row, column] / 255.0
            for colour in range(3):
                factor = 1.0 + cover * (gain[row, column, colour] - 1.0)
                value = picture[row, column, colour] * factor + 0.5
                result[row, column, colour] = np.uint8(min(value, 255.0))
