"""DECA's numbers made steady over a clip. DECA itself sees one frame at a time, and trembles."""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.models.deca.camera import Placement
from stages.models.deca.coefficients import Coefficients
from stages.models.rotations import axis_angles, matrices, smooth_rotations
from stages.smoothing import smooth_series

Identity = Literal["clip", "frame"]
"""`clip`: the median of the clip's frames, for all of them; `frame`: each its own."""


def steady_identity(coefficients: Coefficients, valid: NDArray[np.bool_]) -> Coefficients:
    """Give all frames the median shape and albedo of those in which the face was seen."""
    seen = coefficients[valid] if valid.any() else coefficients
    shape, tex = (
        np.broadcast_to(np.median(each, axis=0), (len(coefficients), each.shape[1]))
        for each in (seen.shape, seen.tex)
    )
    return replace(coefficients, shape=shape.copy(), tex=tex.copy())


def steady_motion(
    coefficients: Coefficients, sigma: float, valid: NDArray[np.bool_] | None = None
) -> Coefficients:
    """Smooth expression, rotations and camera over time, without lag.

    Rotations are averaged as rotations, cameras as what they show in the picture, so that a
    crop that moves does no harm.

    Args:
        coefficients: Of the frames of one clip, in order.
        sigma: Standard deviation of the window in frames; 0 changes nothing.
        valid: (T,), in which frames the face was seen: the others move as these around them
            do. All of them without.
    """
    if sigma <= 0:
        return coefficients
    turns = matrices(coefficients.pose.reshape(-1, 2, 3))
    smooth = [axis_angles(smooth_rotations(turns[:, joint], sigma, valid)) for joint in range(2)]
    there = Placement.of(coefficients)
    placed = Placement(*(smooth_series(each, sigma, valid) for each in (there.size, there.place)))
    return replace(
        coefficients,
        exp=smooth_series(coefficients.exp, sigma, valid).astype(np.float32),
        pose=np.concatenate(smooth, axis=1).astype(np.float32),
        cam=placed.camera(coefficients.tform),
    )


def steady_light(
    coefficients: Coefficients, sigma: float, valid: NDArray[np.bool_] | None = None
) -> Coefficients:
    """Smooth the light over time, without lag; arguments as of `steady_motion`."""
    light = smooth_series(coefficients.light, sigma, valid).astype(np.float32)
    return replace(coefficients, light=light)
