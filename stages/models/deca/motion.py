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
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from stages.models.deca.coefficients import Coefficients
from stages.models.rotations import angles, axis_angles, matrices, smooth_rotations
from stages.smoothing import smooth_series

Alignment = Literal["relative", "relative_paper", "absolute", "absolute_paper", "so3"]

Base = Literal["first", "closest"]
"""Which of the driver's frames answers to the reference: its first, or the one whose head is
turned most nearly as the reference's."""

_HALF = 112.0  # DECA's projection -1..1 spans the 224 pixels of the crop


@dataclass(frozen=True)
class Placement:
    """Where a head lies in the picture, whatever crop it was measured in.

    DECA's camera (s, x, y) puts FLAME's origin at ``112 (1 + s (x, -y))`` of the crop, which
    tform A cut out of the picture: so ``p = A^-1`` of that, and ``k = 112 s / sqrt|det A|``.

    Attributes:
        size: float64 (T,), pixels of the picture for one of FLAME's units (metres).
        place: float64 (T, 2), pixels, of FLAME's origin.
    """

    size: NDArray[np.float64]
    place: NDArray[np.float64]

    @classmethod
    def of(cls, face: Coefficients) -> Self:
        """The placement that camera and crop of a face amount to."""
        linear, shift = _affine(face.tform)
        camera = face.cam.astype(np.float64)
        scale, offset = camera[:, :1], camera[:, 1:]
        crop = _HALF * (1 + scale * offset * (1, -1))
        place = np.linalg.inv(linear) @ (crop - shift)[..., None]
        return cls(_HALF * scale[:, 0] / np.sqrt(np.abs(np.linalg.det(linear))), place[..., 0])

    def camera(self, tform: NDArray[Any]) -> NDArray[np.float32]:
        """DECA's camera, float32 (T, 3), that says the same of crops ``tform`` (T, 3, 3)."""
        linear, shift = _affine(tform)
        scale = self.size[:, None] * np.sqrt(np.abs(np.linalg.det(linear)))[:, None] / _HALF
        crop = (linear @ self.place[..., None])[..., 0] + shift
        offset = (crop / _HALF - 1) * (1, -1) / scale
        return np.concatenate([scale, offset], axis=1).astype(np.float32)


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
        smoothing: Standard deviation, in frames, of the window that `smooth_motion` applies
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
    driver = smooth_motion(driver, smoothing)
    at = 0 if base == "first" else closest_frame(reference, driver)
    moved = _ALIGNMENTS[alignment](reference, driver, driver[at : at + 1])
    return relight(replace(reference[np.zeros(len(driver), int)], **moved), light)


def relight(face: Coefficients, light: NDArray[Any]) -> Coefficients:
    """The same face, T frames, under another light: (9, 3), or (T, 9, 3).

    Raises:
        ValueError: The light has another shape.
    """
    if light.shape not in ((9, 3), face.light.shape):
        raise ValueError(f"light must have shape (9, 3) or {face.light.shape}, not {light.shape}")
    return replace(face, light=np.broadcast_to(light, face.light.shape).astype(np.float32))


def closest_frame(reference: Coefficients, driver: Coefficients) -> int:
    """The driver's frame whose head is the smallest turn away from the reference's."""
    heads = matrices(driver.pose[:, :3]) @ np.swapaxes(matrices(reference.pose[:, :3]), 1, 2)
    return int(angles(heads).argmin())


def smooth_motion(face: Coefficients, sigma: float) -> Coefficients:
    """Calm the jitter of coefficients that were found frame by frame.

    A symmetric window over time, so that nothing lags: head and jaw as rotations, expression
    as numbers, the camera as the head's place and size in the picture (so that a jitter of
    the crops does no harm). Shape, texture, light and crops stay.

    Args:
        face: T frames.
        sigma: Standard deviation of the window in frames; 0 changes nothing.
    """
    if sigma <= 0:
        return face
    turns = _rotations(face)
    calm = [smooth_rotations(turns[:, part], sigma) for part in range(turns.shape[1])]
    there = Placement.of(face)
    placed = Placement(smooth_series(there.size, sigma), smooth_series(there.place, sigma))
    return replace(
        face,
        pose=_pose(np.stack(calm, axis=1)),
        exp=smooth_series(face.exp, sigma).astype(np.float32),
        cam=placed.camera(face.tform),
    )


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


def _affine(tform: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The linear part (T, 2, 2) and the shift (T, 2) of crops (T, 3, 3)."""
    exact = tform.astype(np.float64)
    return exact[:, :2, :2], exact[:, :2, 2]
