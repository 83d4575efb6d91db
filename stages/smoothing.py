"""Smoothing over a whole clip, without lag; of landmarks, without blurring blinks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_REACH = 2.5  # window's half width, in standard deviations
_STILL = 0.004  # displacement that is noise rather than movement, in faces


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


def smooth_series(values: NDArray[Any], sigma: float) -> NDArray[np.float64]:
    """Average each frame's numbers with those of the frames around it.

    The window is a Gaussian, the same on both sides, so that nothing lags; at the clip's ends
    it covers the frames that there are.

    Args:
        values: (T, ...).
        sigma: Standard deviation of the window in frames; 0 changes nothing.

    Returns:
        float64 (T, ...).
    """
    values = np.asarray(values, np.float64)
    if sigma <= 0 or len(values) < 2:
        return values.copy()
    total, weights = values.copy(), np.ones(len(values))
    for lag in range(1, min(int(np.ceil(_REACH * sigma)), len(values) - 1) + 1):
        away = lag / sigma
        weight = np.exp(-0.5 * away * away)
        total[:-lag] += weight * values[lag:]
        total[lag:] += weight * values[:-lag]
        weights[:-lag] += weight
        weights[lag:] += weight
    return total / weights.reshape(-1, *(1,) * (values.ndim - 1))
