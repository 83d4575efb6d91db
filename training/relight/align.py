"""Motion alignment: the reference's face moves as the driver's does, whatever found their shapes.

Three ways, by the names that the command knows. With r the reference, t a frame of the driver and
b its first one:

- ``relative`` (LCVD's): pose ``t - b + r`` as axis-angle numbers, expression likewise; place and
  size stay the reference's.
- ``scale`` (LCVD's "portrait scale consistency"): the driver's own pose and expression; place and
  size stay the reference's.
- ``so3`` (ours): rotations composed, ``R_t R_b^-1 R_r``; expression ``t - b + r``; and the head's
  way and growth in the picture, in units of its size: ``k = k_r k_t / k_b`` and
  ``p = p_r + (k_r / k_b) (p_t - p_b)``.

DECA's coefficients are aligned by `stages.models.deca.motion`. For landmarks, the same is done
here: the pose is that of `stages.models.pose`, and the expression is the landmarks as the head
itself sees them, in units of its size.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from stages.models.deca.coefficients import Coefficients
from stages.models.deca.motion import Alignment, align_motion
from stages.models.face_geometry import FaceGeometry
from stages.models.pose import head_pose
from stages.models.rotations import axis_angles, matrices
from stages.models.shading import camera_frame

Align = Literal["relative", "scale", "so3"]
"""How the driver's motion is carried over to the reference."""

_DECA: dict[Align, Alignment] = {"relative": "relative", "scale": "absolute", "so3": "so3"}

# Pairs of landmarks that part as mouth and eyes open, after those that say how wide they are.
_MOUTH, _LIPS = (61, 291), (13, 14)
_RIGHT_EYE, _RIGHT_LIDS = (33, 133), (159, 145)
_LEFT_EYE, _LEFT_LIDS = (263, 362), (386, 374)


@dataclass(frozen=True)
class MovingHead:
    """Landmarks of T frames, parted into pose and what the head itself does.

    In the camera frame, ``landmarks = scale * local @ rotation.T + translation``.

    Attributes:
        rotation: (T, 3, 3), from the head's axes to the camera's.
        scale: (T,), pixels for one unit of the head.
        translation: (T, 3), pixels.
        local: (T, V, 3), landmarks on the head's own axes, in units of its size.
    """

    rotation: NDArray[np.float64]
    scale: NDArray[np.float64]
    translation: NDArray[np.float64]
    local: NDArray[np.float64]

    @classmethod
    def of(cls, points: NDArray[Any]) -> Self:
        """The head of landmarks (T, V, 3), pixels, y down, smaller z nearer."""
        pose = head_pose(camera_frame(points))
        return cls.posed(points, pose.rotation, pose.scale, pose.translation)

    @classmethod
    def posed(
        cls,
        points: NDArray[Any],
        rotation: NDArray[Any],
        scale: NDArray[Any],
        translation: NDArray[Any],
    ) -> Self:
        """The same where the pose is known."""
        rotation, scale, translation = (
            np.asarray(each, np.float64) for each in (rotation, scale, translation)
        )
        seen = camera_frame(np.asarray(points, np.float64)) - translation[:, None]
        return cls(rotation, scale, translation, seen @ rotation / scale[:, None, None])

    def points(self) -> NDArray[np.float32]:
        """The landmarks, (T, V, 3) as `of` takes them."""
        seen = self.scale[:, None, None] * self.local @ np.swapaxes(self.rotation, 1, 2)
        return camera_frame(seen + self.translation[:, None]).astype(np.float32)

    def openness(self) -> NDArray[np.float64]:
        """How far mouth, right and left eye are open, (T, 3), in units of their width."""
        pairs = ((_LIPS, _MOUTH), (_RIGHT_LIDS, _RIGHT_EYE), (_LEFT_LIDS, _LEFT_EYE))
        return np.stack([self._gap(gap) / self._gap(width) for gap, width in pairs], axis=1)

    def _gap(self, pair: tuple[int, int]) -> NDArray[np.float64]:
        return np.linalg.norm(self.local[:, pair[0]] - self.local[:, pair[1]], axis=1)

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, frames: slice | NDArray[Any]) -> Self:
        return replace(
            self,
            rotation=self.rotation[frames],
            scale=self.scale[frames],
            translation=self.translation[frames],
            local=self.local[frames],
        )


def align_heads(reference: MovingHead, driver: MovingHead, align: Align) -> MovingHead:
    """Let a reference's head of one frame move as a driver's of T frames.

    Landmarks do not tell how a face would look at rest. So in ``scale`` the driver's own
    expression is what it does beyond the frame in which its mouth and eyes are open most nearly
    as the reference's are.
    """
    r, d, b = reference, driver, driver[:1]
    rest = b.local
    still = {
        "scale": np.repeat(r.scale, len(d)),
        "translation": np.repeat(r.translation, len(d), axis=0),
    }
    if align == "relative":
        turns = axis_angles(d.rotation) - axis_angles(b.rotation) + axis_angles(r.rotation)
        pose = {"rotation": matrices(turns), **still}
    elif align == "scale":
        nearest = int(np.abs(d.openness() - r.openness()).sum(axis=1).argmin())
        rest = d.local[nearest : nearest + 1]
        pose = {"rotation": d.rotation, **still}
    else:
        ratio = r.scale / b.scale
        pose = {
            "rotation": d.rotation @ np.swapaxes(b.rotation, 1, 2) @ r.rotation,
            "scale": ratio * d.scale,
            "translation": r.translation + ratio[:, None] * (d.translation - b.translation),
        }
    return MovingHead(local=d.local - rest + r.local, **pose)


def align_points(
    reference: NDArray[Any], driver: NDArray[Any], align: Align
) -> NDArray[np.float32]:
    """Landmarks (T, V, 3) of a reference's face that moves as a driver's.

    Args:
        reference: (1, V, 3), pixels of its picture, which are the result's too.
        driver: (T, V, 3), pixels of its own pictures.
        align: How.
    """
    return align_heads(MovingHead.of(reference), MovingHead.of(driver), align).points()


def align_geometry(reference: FaceGeometry, driver: FaceGeometry, align: Align) -> FaceGeometry:
    """A reference's geometry that moves as a driver's, under the reference's light.

    Args:
        reference: Of one frame.
        driver: Of T frames, by the same geometry model.
        align: How.

    Raises:
        ValueError: The reference is not one frame, or the driver has none.
    """
    if len(reference) != 1 or not len(driver):
        raise ValueError(
            f"a reference of {len(reference)} frames and a driver of {len(driver)}: 1, and 1 or"
            " more, are needed"
        )
    if "landmarks" not in reference.parameters:
        one, many = (Coefficients.from_arrays(each.arrays()) for each in (reference, driver))
        return align_motion(one, many, reference.light[0], _DECA[align]).geometry(reference.size)
    moved = align_heads(_head(reference), _head(driver), align)
    parameters = {
        "landmarks": moved.points(),
        "rotation": moved.rotation.astype(np.float32),
        "scale": moved.scale.astype(np.float32),
        "translation": moved.translation.astype(np.float32),
        "head": reference.parameters["head"],
    }
    light = np.repeat(reference.light, len(moved), axis=0)
    return FaceGeometry(light, parameters, reference.size)


def _head(geometry: FaceGeometry) -> MovingHead:
    own = geometry.parameters
    return MovingHead.posed(own["landmarks"], own["rotation"], own["scale"], own["translation"])
