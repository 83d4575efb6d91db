"""The light on a face, from the face itself: robust least squares of skin on normals.

Every skin triangle that is seen gives one equation a frame: its colour is `ALBEDO` times the
spherical-harmonic shading of its normal. Only the product of albedo and light can be seen;
we split it as LCVD's render does, with a grey of 180/255 for all skin, so that a render of
the fit has the brightness of the skin in the picture. Pixel values are taken as they are
coded, without undoing their gamma, again because LCVD's hints are in those terms.

Light changes more slowly than a face moves. So the equations of neighbouring frames are
pooled under a window that is symmetric in time (no lag), and the more normals a turning
head shows, the better its light is known.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.models.rasteriser import rasterise
from stages.models.shading import ALBEDO, camera_frame, vertex_normals
from stages.models.spherical_harmonics import basis, shade
from stages.models.topology import IMAGE_LEFT_EYE_CONTOUR, IMAGE_RIGHT_EYE_CONTOUR

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Weights of red, green and blue in luminance (BT.709)."""

_LIDS = 32  # the lids and the ring around them, where lashes and their shadows are
# fmt: off
_BROWS = (
    46, 53, 52, 65, 55, 70, 63, 105, 66, 107, 276, 283, 282, 295, 285, 300, 293, 334, 296, 336,
)
_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
)
# fmt: on
NOT_SKIN = (*IMAGE_LEFT_EYE_CONTOUR[:_LIDS], *IMAGE_RIGHT_EYE_CONTOUR[:_LIDS], *_BROWS, *_LIPS)
"""Landmarks of eyes, brows and lips."""

_SHRINK = 4  # a sample is the mean over about 4 x 4 pixels: pores and noise are no light
_DARK, _BRIGHT = 0.03, 0.97  # beyond these a colour is crushed or clipped
_GRAZING = 0.2  # least z of a normal at which a triangle is believed
_HIDDEN_BY = 0.02  # share of the picture by which something nearer hides what is behind

_DOUBT = 2.4  # spreads by which a triangle misses when its weight is down to a quarter
_NORMAL_MAD = 1.4826  # standard deviation of a normal variable over its median |x|
_QUANTUM = 1 / 255
_ROUNDS = 8
_PART = 32  # frames of which the design is made at once, over and over: it is the largest array
_CLIP_SHARE = 0.02  # weight of the whole clip's equations beside a frame's own
_PRIOR = np.diag([1e-3, *[0.1] * 3, *[1.0] * 5])  # light is even, rather than of second order


def skin_triangles(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """The triangles (n, 3) of the face mesh that touch no eye, brow or lip."""
    return faces[~np.isin(faces, NOT_SKIN).any(axis=1)]


@dataclass(frozen=True)
class SkinSamples:
    """What the skin of a clip looks like, triangle by triangle.

    Attributes:
        normals: float32 (T, S, 3), camera frame.
        colours: float32 (T, S, 3), RGB, 1 is white.
        weights: float32 (T, S), pixels that the triangle covers; 0 where it was not seen.
    """

    normals: NDArray[np.float32]
    colours: NDArray[np.float32]
    weights: NDArray[np.float32]

    def only(self, frames: NDArray[np.bool_]) -> "SkinSamples":
        """The same with nothing seen in the other frames."""
        return replace(self, weights=self.weights * frames[:, None])


def sample_skin(
    frames: Iterable[NDArray[np.uint8]],
    vertices: NDArray[Any],
    faces: NDArray[np.int32],
    skin: NDArray[np.int32],
) -> SkinSamples:
    """Read the colours of the skin in every frame.

    Args:
        frames: T pictures, uint8 (H, W, 3); drawn one at a time.
        vertices: (T, V, 3): x right and y down in their pixels (pixel ``i`` covers ``i`` to
            ``i + 1``), z in the same unit, smaller is nearer.
        faces: The whole mesh, (F, 3): what is no skin can hide skin.
        skin: The triangles to sample, (S, 3).
    """
    normals = np.empty((len(vertices), len(skin), 3), np.float32)
    colours = np.empty_like(normals)
    weights = np.empty(normals.shape[:2], np.float32)
    for t, (frame, mesh) in enumerate(zip(frames, vertices, strict=True)):
        corners = mesh[skin]
        normals[t] = vertex_normals(camera_frame(mesh), faces)[skin].mean(axis=1)
        # Counter-clockwise is outward, and is negative where y points down.
        areas = -0.5 * np.linalg.det(corners[:, 1:, :2] - corners[:, :1, :2])
        facing = (normals[t, :, 2] > _GRAZING) & (areas > 0)
        colours[t], seen = _look(frame, mesh, faces, corners.mean(axis=1))
        weights[t] = np.where(facing & seen, areas, 0)
    return SkinSamples(normals, colours, weights)


def _look(
    frame: NDArray[np.uint8], mesh: NDArray[Any], faces: NDArray[np.int32], points: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Colours (S, 3) of a frame at points of the mesh, and which of them are to be believed."""
    height, width = (side // _SHRINK for side in frame.shape[:2])
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    x, y, z = np.split((points / _SHRINK).astype(np.float32), 3, axis=1)
    # The maps are columns: OpenCV 5 reads a flat map wrongly.
    scaled = small.astype(np.float32) * np.float32(_QUANTUM)
    colours = np.asarray(cv2.remap(scaled, x - 0.5, y - 0.5, cv2.INTER_LINEAR), np.float32)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    depth = rasterise(mesh / _SHRINK, faces, (height, width)).depth
    row, column = (y.clip(0, height - 1).astype(int), x.clip(0, width - 1).astype(int))
    seen = inside & (z <= depth[row, column] + _HIDDEN_BY * width)
    exposed = ((colours > _DARK) & (colours < _BRIGHT)).all(axis=2)
    return colours[:, 0], (seen & exposed)[:, 0]


@dataclass(frozen=True)
class LightFit:
    """The light of a clip.

    Attributes:
        light: float32 (T, 9, 3): coefficients by RGB, for surfaces of albedo `ALBEDO`.
        brightness: float32 (T,): mean luminance (1 is white) of the render where skin was
            seen; 0 where none was.
        residual: float32 (T,): median difference in luminance between that render and the
            skin; 0 where none was seen.
    """

    light: NDArray[np.float32]
    brightness: NDArray[np.float32]
    residual: NDArray[np.float32]


def fit_light(samples: SkinSamples, *, window: float, ridge: float) -> LightFit:
    """Fit nine coefficients a colour to every frame of a clip, all frames at once.

    Iteratively re-weighted least squares with the weights of Geman and McClure (1985). They
    let go of what does not fit, such as hair over the mesh, which bends the light under
    Huber's. They are those of the luminance, so that all colours trust the same triangles.

    Args:
        samples: The skin.
        window: Standard deviation, in frames, of the Gaussian window under which equations
            are pooled; 0 fits every frame by itself.
        ridge: Strength of the prior for even light, relative to a clip's equations, above 0.
            It bears a tenth as much on the first order as on the second.
    """
    luminance = samples.colours @ (LUMINANCE / ALBEDO).astype(np.float32)
    seen = samples.weights > 0
    share = samples.weights / np.maximum(samples.weights.sum(axis=1, keepdims=True), 1)
    trust = np.ones_like(share)
    shading = np.empty_like(share)
    for _ in range(_ROUNDS):
        equations = _equations(samples, share * trust)
        pooled = _pool(equations, window) + _CLIP_SHARE * equations.mean(axis=0)
        light = np.linalg.solve(pooled[..., :9] + ridge * _PRIOR, pooled[..., 9:])
        grey = (light @ LUMINANCE).astype(np.float32)
        for part in _parts(len(share)):
            np.einsum("tsk,tk->ts", basis(samples.normals[part]), grey[part], out=shading[part])
        miss = np.abs(shading - luminance)
        scale = _NORMAL_MAD * float(np.median(miss[seen])) if seen.any() else 0.0
        doubt = np.float32(_DOUBT * max(scale, _QUANTUM))
        trust = np.square(1 / (1 + np.square(miss / doubt)))
    residual = [np.median(m[s]) if s.any() else 0 for m, s in zip(miss, seen, strict=True)]
    return LightFit(
        light.astype(np.float32),
        np.float32(ALBEDO) * np.einsum("ts,ts->t", share, shading),
        np.float32(ALBEDO) * np.array(residual, np.float32),
    )


def _equations(samples: SkinSamples, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Normal equations of every frame, matrix beside right-hand sides: (T, 9, 9 + 3)."""
    equations = np.empty((len(weights), 9, 12))
    for part in _parts(len(weights)):
        design = basis(samples.normals[part])
        weighted = np.swapaxes(design * weights[part, :, None], 1, 2)
        equations[part, :, :9] = weighted @ design
        equations[part, :, 9:] = weighted @ (samples.colours[part] / np.float32(ALBEDO))
    return equations


def _parts(frames: int) -> Iterator[slice]:
    """A clip in parts whose designs are small beside its samples, and stay in the cache."""
    return (slice(start, start + _PART) for start in range(0, frames, _PART))


def _pool(equations: NDArray[np.float64], window: float) -> NDArray[np.float64]:
    """Mean over time under a Gaussian of standard deviation ``window`` frames."""
    frames = len(equations)
    total = equations.copy()
    weight = np.ones((frames, 1, 1))
    for lag in range(1, min(int(np.ceil(3 * window)), frames - 1) + 1):
        gauss = np.exp(-0.5 * (lag / window) ** 2)
        total[lag:] += gauss * equations[:-lag]
        total[:-lag] += gauss * equations[lag:]
        weight[lag:] += gauss
        weight[:-lag] += gauss
    return total / weight


def grey_light(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """The luminance of coefficients (..., 9, 3), in all three colours."""
    return np.repeat((light @ LUMINANCE)[..., None], 3, axis=-1).astype(np.float32)


def main_direction(light: NDArray[np.float32]) -> tuple[float, float]:
    """Where the light mainly comes from: azimuth and elevation in degrees.

    That is the direction, among those that a face turned to the camera shows, whose normal is
    shaded brightest. (The first-order coefficients would tell it in closed form, but how far
    behind the head a light stands is hardly determined by a frontal face.) (0, 0) is light
    from the camera; positive azimuth is light from the right of the picture.

    Args:
        light: (..., 9, 3) coefficients; their mean is taken.

    Returns:
        Both in -90..90, in steps of 3.
    """
    angles = np.radians(np.arange(-90, 91, 3))
    azimuth, elevation = np.meshgrid(angles, angles, indexing="ij")
    normals = np.stack(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ],
        axis=-1,
    ).astype(np.float32)
    brightness = shade(light.reshape(-1, 9, 3).mean(axis=0), normals) @ LUMINANCE
    best = np.unravel_index(brightness.argmax(), brightness.shape)
    return float(np.degrees(azimuth[best]).round()), float(np.degrees(elevation[best]).round())


def white_balance(light: NDArray[np.float32], samples: SkinSamples) -> NDArray[np.float32]:
    """Take the clip's mean skin colour out of coefficients (..., 9, 3).

    What colour remains is light that differs from place to place or from time to time.
    """
    mean = np.einsum("tsc,ts->c", samples.colours, samples.weights, dtype=np.float64)
    luminance = float(mean @ LUMINANCE)
    if luminance == 0:
        return light
    return (light * (luminance / np.maximum(mean, _QUANTUM * luminance))).astype(np.float32)
