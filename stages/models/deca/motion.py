"""Motion alignment: a reference's face that moves as a driver's does, under a given light.

The reference r is one frame; the driver has frames t, one of which is the base b. The result
has a frame for each t, with the reference's shape, texture and crop. The rest is, in

- ``relative`` (what LCVD's code does by default): pose ``d_t - d_b + r``, the head's and the
  jaw's axis-angle vectors subtracted as numbers; expression likewise; the reference's camera.
- ``relative_paper`` (what its paper says): the same, but the driver's own expression ``d_t``.
- ``absolute`` (what the code does for "portrait scale consistency"): the driver's own pose and
  expression; the reference's camera, so that the head stays where the reference's is.
- ``absolute_paper`` (what the paper claims of it, spatial alignment to the driver): the same,
  but the head lies where the driver's does, as large as the reference's.
- ``so3`` (ours): rotations composed as rotations, ``R_t R_b^-1 R_r`` for head and jaw;
  expression ``d_t - d_b + r``; and the head's way and growth in the picture, in units of its
  size. With p the place of FLAME's origin in the picture and k the pixels that one of FLAME's
  units spans there (`Placement`)::

      k = k_r k_t / k_b
      p = p_r + (k_r / k_b) (p_t - p_b)

``so3`` does not depend on the branch of an axis-angle vector, nor on where, how large or with
which axes the driver's head was measured. LCVD's code takes the first frame as the base.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stages.models.deca.camera import Placement
from stages.models.deca.coefficients import Coefficients
from stages.models.deca.steady import steady_motion
from stages.models.rotations import angles, axis_angles, matrices

Alignment = Literal["relative", "relative_paper", "absolute", "absolute_paper", "so3"]

Base = Literal["first", "closest"]
"""Which of the driver's frames answers to the reference: its first, or the one whose head is
turned most nearly as the reference's."""


def align_motion(
    reference: Coefficients,
    driver: Coefficients,
    light: NDArray[Any],
    alignment: Alignment = "so3",
    *,
    base: Base = "first",
    smoothing: float = 0.0,
) -> Coefficients:
    """Let a reference's face move as a driver's.

    Args:
        reference: Whose face; one frame.
        driver: Whose motion; T frames.
        light: (9, 3), or (T, 9, 3) for a light that changes.
        alignment: How the motion is carried over (see the module).
        base: The driver's frame that answers to the reference; ``absolute`` ones need none.
        smoothing: Standard deviation, in frames, of the window that `steady_motion` applies
            to the driver first; 0 leaves it as it is.

    Returns:
        T frames.

    Raises:
        ValueError: The reference is not one frame, the driver has none, or the light has
            another shape.
    """
    if len(reference) != 1:
        raise ValueError(f"the reference must be 1 frame, not {len(reference)}")
    if not len(driver):
        raise ValueError("the driver must have a frame or more, not 0")
    driver = steady_motion(driver, smoothing)
    at = 0 if base == "first" else closest_frame(reference, driver)
    moved = _ALIGNMENTS[alignment](reference, driver, driver[at : at + 1])
    return replace(reference[np.zeros(len(driver), int)], **moved).under(light)


def closest_frame(reference: Coefficients, driver: Coefficients) -> int:
    """The driver's frame whose head is the smallest turn away from the reference's."""
    heads = matrices(driver.pose[:, :3]) @ np.swapaxes(matrices(reference.pose[:, :3]), 1, 2)
    return int(angles(heads).argmin())


def _relative(r: Coefficients, d: Coefficients, b: Coefficients) -> dict[str, NDArray[Any]]:
    return {"pose": d.pose - b.pose + r.pose, "exp": d.exp - b.exp + r.exp}


def _relative_paper(r: Coefficients, d: Coefficients, b: Coefficients) -> dict[str, NDArray[Any]]:
    return {"pose": d.pose - b.pose + r.pose, "exp": d.exp}


def _absolute(r: Coefficients, d: Coefficients, b: Coefficients) -> dict[str, NDArray[Any]]:
    return {"pose": d.pose, "exp": d.exp}


def _absolute_paper(r: Coefficients, d: Coefficients, b: Coefficients) -> dict[str, NDArray[Any]]:
    place = Placement.of(d).place
    placed = Placement(np.repeat(Placement.of(r).size, len(d)), place)
    return {"pose": d.pose, "exp": d.exp, "cam": placed.camera(r.tform)}


def _so3(r: Coefficients, d: Coefficients, b: Coefficients) -> dict[str, NDArray[Any]]:
    own, there, base = Placement.of(r), Placement.of(d), Placement.of(b)
    ratio = own.size / base.size
    placed = Placement(ratio * there.size, own.place + ratio * (there.place - base.place))
    return {
        "pose": _pose(_rotations(d) @ np.swapaxes(_rotations(b), -1, -2) @ _rotations(r)),
        "exp": d.exp - b.exp + r.exp,
        "cam": placed.camera(r.tform),
    }


_ALIGNMENTS: dict[
    Alignment, Callable[[Coefficients, Coefficients, Coefficients], dict[str, NDArray[Any]]]
] = {
    "relative": _relative,
    "relative_paper": _relative_paper,
    "absolute": _absolute,
    "absolute_paper": _absolute_paper,
    "so3": _so3,
}


def _rotations(face: Coefficients) -> NDArray[np.float64]:
    """Rotations (T, 2, 3, 3) of head and jaw."""
    return matrices(face.pose.reshape(-1, 2, 3))


def _pose(rotations: NDArray[np.float64]) -> NDArray[np.float32]:
    """Poses (T, 6), each half of length pi at most, of rotations (T, 2, 3, 3)."""
    return axis_angles(rotations).reshape(-1, 6).astype(np.float32)
