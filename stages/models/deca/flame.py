"""FLAME (Li et al. 2017): a head of 5,023 vertices from shape, expression and pose.

The template is deformed by linear shape and expression spaces, corrected for the pose, and
turned about its joints by linear blend skinning (SMPL's, Loper et al. 2015). Metres, in the
camera frame for a head that looks at the viewer: x right, y up, z towards the viewer.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn

from infra.errors import WeightsError
from stages.models.deca.coefficients import SPLIT

_IDENTITIES = 300  # directions of identity in a file; those of expression follow them
_PARENTS = (-1, 0, 1, 1, 1)  # of root, neck, jaw, left eye, right eye
_EPSILON = 1e-8

_ARRAYS: dict[str, tuple[int | str, ...]] = {
    "v_template": ("V", 3),
    "f": ("F", 3),
    "shapedirs": ("V", 3, 400),
    "posedirs": ("V", 3, 36),
    "J_regressor": (5, "V"),
    "kintree_table": (2, 5),
    "weights": ("V", 5),
}


def rotation_matrices(axis_angles: torch.Tensor) -> torch.Tensor:
    """Rodrigues' formula as SMPL's code has it, (..., 3) to (..., 3, 3).

    The angle is the length of the vector with 1e-8 added to each component, so that there is
    no division by zero: at no rotation the result is the identity up to that.
    """
    angle = (axis_angles + _EPSILON).norm(dim=-1, keepdim=True)
    x, y, z = (axis_angles / angle).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    cross = cross.unflatten(-1, (3, 3))
    sine, cosine = angle.sin()[..., None], angle.cos()[..., None]
    identity = torch.eye(3, dtype=cross.dtype, device=cross.device)
    return identity + sine * cross + (1 - cosine) * (cross @ cross)


class Flame(nn.Module):
    """The head model, batched over frames.

    Args:
        arrays: Those of FLAME's ``generic_model.pkl`` by their names there.
        name: What to call the file in an error.

    Raises:
        WeightsError: An array is missing, or has not the shape of a FLAME's.
    """

    v_template: torch.Tensor
    shapedirs: torch.Tensor
    posedirs: torch.Tensor
    J_regressor: torch.Tensor
    lbs_weights: torch.Tensor
    faces_tensor: torch.Tensor
    parents: torch.Tensor
    eye_pose: torch.Tensor
    neck_pose: torch.Tensor

    def __init__(self, arrays: Mapping[str, Any], *, name: str = "flame") -> None:
        super().__init__()
        _check(arrays, name)

        def floats(key: str) -> torch.Tensor:
            return torch.as_tensor(arrays[key]).to(torch.float32)

        def integers(key: str) -> torch.Tensor:
            return torch.as_tensor(arrays[key]).to(torch.int64)

        directions = floats("shapedirs")
        identity = directions[..., : SPLIT["shape"]]
        expression = directions[..., _IDENTITIES : _IDENTITIES + SPLIT["exp"]]
        # Buffers are named, and shaped, as those of DECA's module.
        for key, buffer in {
            "eye_pose": torch.zeros(1, 6),
            "neck_pose": torch.zeros(1, 3),
            "faces_tensor": integers("f"),
            "v_template": floats("v_template"),
            "shapedirs": torch.cat([identity, expression], dim=-1),
            "posedirs": floats("posedirs").flatten(0, 1).T.contiguous(),
            "J_regressor": floats("J_regressor"),
            "parents": torch.tensor(_PARENTS),
            "lbs_weights": floats("weights"),
        }.items():
            self.register_buffer(key, buffer)

    def forward(
        self,
        shape: torch.Tensor,
        exp: torch.Tensor,
        pose: torch.Tensor,
        eye_pose: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pose the heads of B frames; the neck stays straight.

        Args:
            shape: (B, 100), identity.
            exp: (B, 50), expression.
            pose: (B, 6), axis-angles in radians: the head's, then the jaw's.
            eye_pose: (B, 6), the left eye's, then the right eye's; straight ahead without.

        Returns:
            Vertices (B, V, 3); and the joints' own rotations (B, 5, 3, 3).
        """
        frames = len(shape)
        rotations = rotation_matrices(self._full_pose(pose, eye_pose))
        deformation = torch.cat([shape, exp], dim=1) @ self.shapedirs.flatten(0, 1).T
        shaped = self.v_template + deformation.view(frames, -1, 3)
        joints = self.J_regressor @ shaped
        bent = rotations[:, 1:] - torch.eye(3, device=rotations.device)
        posed = shaped + (bent.flatten(1) @ self.posedirs).view(frames, -1, 3)
        # Each vertex goes by the weighted mean of the joints' motions.
        blended = self.lbs_weights @ self._motions(rotations, joints).flatten(2)
        turn, shift = blended.unflatten(-1, (3, 4)).split([3, 1], dim=-1)
        vertices = (turn * posed[..., None, :]).sum(dim=-1) + shift[..., 0]
        return vertices, rotations

    def _full_pose(self, pose: torch.Tensor, eye_pose: torch.Tensor | None) -> torch.Tensor:
        """Axis-angles of all joints, (B, 5, 3)."""
        frames = len(pose)
        neck = self.neck_pose.expand(frames, -1)
        eyes = self.eye_pose.expand(frames, -1) if eye_pose is None else eye_pose
        return torch.cat([pose[:, :3], neck, pose[:, 3:], eyes], dim=1).unflatten(1, (-1, 3))

    def _motions(self, rotations: torch.Tensor, joints: torch.Tensor) -> torch.Tensor:
        """What each joint does to the head at rest, [R | t] of (B, 5, 3, 4).

        A joint turns about its own place, and carries its children along.
        """
        turns, places = [rotations[:, 0]], [joints[:, 0]]
        for joint, parent in enumerate(_PARENTS[1:], start=1):
            arm = (joints[:, joint] - joints[:, parent])[..., None]
            turns.append(turns[parent] @ rotations[:, joint])
            places.append(places[parent] + (turns[parent] @ arm)[..., 0])
        turn, place = torch.stack(turns, dim=1), torch.stack(places, dim=1)
        shift = place[..., None] - turn @ joints[..., None]
        return torch.cat([turn, shift], dim=-1)


def _check(arrays: Mapping[str, Any], name: str) -> None:
    """Make sure that arrays are those of a FLAME model.

    Raises:
        WeightsError: They are not; says in what.
    """

    def refuse(what: str) -> NoReturn:
        raise WeightsError(
            f"{name} is no FLAME model: {what}",
            hint="see `limelight weights list` for the file that is meant",
        )

    missing = [key for key in _ARRAYS if key not in arrays]
    if missing:
        refuse(f"it lacks {', '.join(missing)}")
    vertices = len(arrays["v_template"])
    for key, sizes in _ARRAYS.items():
        shape = tuple(arrays[key].shape)
        asked = tuple(vertices if size == "V" else size for size in sizes)
        faces = shape[0] if shape else 0
        if shape != tuple(faces if size == "F" else size for size in asked):
            refuse(f"its {key} has shape {shape}, not ({', '.join(map(str, asked))})")
    corners, tree = (np.asarray(arrays[key]) for key in ("f", "kintree_table"))
    if corners.size == 0 or not 0 <= corners.min() <= corners.max() < vertices:
        refuse(f"its triangles must be of vertices 0 to {vertices - 1}")
    # The root's own parent is -1, wrapped around where integers are unsigned.
    parents = tuple(int(parent) for parent in tree[0, 1:])
    if parents != _PARENTS[1:]:
        refuse(f"its joints hang on {parents}, not on {_PARENTS[1:]}")
