"""Smoothing over a whole clip, without lag; of landmarks, without blurring blinks."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_REACH = 2.5  # window's half width, in standard deviations
_STILL = 0.004  # displacement that is noise rather than movement, in faces

F = TypeVar("F", NDArray[np.float32], NDArray[np.float64])


def smooth_landmarks(points: np.ndarray, sizes: np.ndarray, sigma: float) -> np.ndarray:
    """Average each landmark with itself in the frames around, as far as it is at rest.

    A bilateral filter over time (Tomasi and Manduchi, ICCV 1998): weights fall off with the
    distance in frames on both sides alike, so that nothing lags, and with the landmark's own
    displacement, so that a blink, a word or a turn of the head is kept as it was measured.

    Args:
        points: (T, n, 3) pixels.
        sizes: (T,) the face's size in each frame, pixels: the measure of a displacement.
        sigma: Standard deviation of the window in frames; 0 changes nothing.

    Returns:
        (T, n, 3) float32.
    """
    points = np.asarray(points, np.float32)
    if sigma <= 0 or len(points) < 2:
        return points.copy()
    total = points.copy()
    weights = np.ones((*points.shape[:2], 1), np.float32)
    scale = (1 / (_STILL * sizes)).astype(np.float32)[:, None]
    for lag in range(1, min(int(np.ceil(_REACH * sigma)), len(points) - 1) + 1):
        early, late = points[:-lag], points[lag:]
        moved = np.square((late - early)[..., :2]).sum(axis=-1) * np.square(scale[lag:])
        weight = np.exp(-0.5 * (moved + (lag / sigma) ** 2))[..., None]
        total[:-lag] += weight * late
        total[lag:] += weight * early
        weights[:-lag] += weight
        weights[lag:] += weight
    return total / weights


def smooth_series(
    values: NDArray[Any], sigma: float, weights: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Average each frame's numbers with those of the frames around it.

    The window is a Gaussian, the same on both sides, so that nothing lags; at the clip's ends
    it covers the frames that there are.

    Args:
        values: (T, ...).
        sigma: Standard deviation of the window in frames; 0 changes nothing.
        weights: (T,), 0 or more: how much a frame's own numbers count. Of weight 0 they do not,
            and the frame has its neighbours' mean. Where nothing within a window counts, the
            result is linear between those on either side. Without, or with none above 0, all
            frames count alike.

    Returns:
        float64 (T, ...).
    """
    values = np.asarray(values, np.float64)
    if sigma <= 0 or len(values) < 2:
        return values.copy()
    counts = np.ones(len(values))
    if weights is not None and np.any(weights):
        counts = np.asarray(weights, np.float64)
    broad = (-1, *(1,) * (values.ndim - 1))
    weighted = values * counts.reshape(broad)
    total, mass = weighted.copy(), counts.copy()
    for lag in range(1, min(int(np.ceil(_REACH * sigma)), len(values) - 1) + 1):
        away = lag / sigma
        weight = np.exp(-0.5 * away * away)
        total[:-lag] += weight * weighted[lag:]
        total[lag:] += weight * weighted[:-lag]
        mass[:-lag] += weight * counts[lag:]
        mass[lag:] += weight * counts[:-lag]
    known = np.flatnonzero(mass)
    means: NDArray[np.float64] = total[known] / mass[known].reshape(broad)
    return means if len(known) == len(values) else interpolate(len(values), known, means)


def interpolate(frames: int, known: Sequence[int] | NDArray[Any], values: F) -> F:
    """Numbers of every frame, of those of some.

    Args:
        frames: Number of all.
        known: (n,) frames whose numbers are known, in order; one or more.
        values: Floats (n, ...), those numbers.

    Returns:
        (frames, ...): linear in between, held before the first and after the last.
    """
    where = np.interp(np.arange(frames), known, np.arange(len(known)))
    before = np.floor(where).astype(int)
    after = np.minimum(before + 1, len(known) - 1)
    share = (where - before).astype(values.dtype).reshape(-1, *(1,) * (values.ndim - 1))
    between: F = values[before] * (1 - share) + values[after] * share
    return between
