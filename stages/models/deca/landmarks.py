"""The 68 iBUG landmarks on FLAME's surface, fixed ones and those of the visible contour."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from infra.errors import WeightsError

_TABLES = ("static_lmk", "dynamic_lmk", "full_lmk")
_CONTOURS = 79  # rows of the contour table: a head turned by 0..39 degrees, then by -1..-39
_MOST = 39


def contour_rows(rotations: torch.Tensor) -> torch.Tensor:
    """Which row of the contour table shows a turned head, (B,).

    The head's angle about the vertical is taken as DECA takes it: SMPL-X's helper of the same
    name has the opposite sign. It is clamped at 39 degrees and rounded half to even; negative
    angles follow the positive ones in the table.

    Args:
        rotations: (B, 5, 3, 3), the joints' own; the root's and the neck's count.
    """
    r = rotations[:, 0] @ rotations[:, 1]
    yaw = torch.atan2(-r[:, 2, 0], torch.hypot(r[:, 0, 0], r[:, 1, 0])).rad2deg()
    row = yaw.clamp(max=_MOST).round().long()
    return torch.where(row < -_MOST, _CONTOURS - 1, torch.where(row < 0, _MOST - row, row))


class FlameLandmarks(nn.Module):
    """Points of a FLAME mesh, each in a triangle by barycentric weights.

    Args:
        arrays: Those of DECA's ``landmark_embedding.npy`` by their names there.
        faces: FLAME's triangles, int64 (F, 3).
        name: What to call the file in an error.

    Raises:
        WeightsError: An array is missing.
    """

    lmk_faces_idx: torch.Tensor
    lmk_bary_coords: torch.Tensor
    dynamic_lmk_faces_idx: torch.Tensor
    dynamic_lmk_bary_coords: torch.Tensor
    full_lmk_faces_idx: torch.Tensor
    full_lmk_bary_coords: torch.Tensor

    def __init__(
        self, arrays: Mapping[str, Any], faces: torch.Tensor, *, name: str = "deca_landmarks"
    ) -> None:
        super().__init__()
        keys = [f"{table}_{part}" for table in _TABLES for part in ("faces_idx", "bary_coords")]
        missing = [key for key in keys if key not in arrays]
        if missing:
            raise WeightsError(
                f"{name} is no landmark embedding of DECA: it lacks {', '.join(missing)}",
                hint="see `limelight weights list` for the file that is meant",
            )
        # Buffers are named, and shaped, as those of DECA's module.
        for key in keys:
            dtype = torch.int64 if key.endswith("idx") else torch.float32
            buffer = torch.as_tensor(arrays[key]).to(dtype)
            self.register_buffer(key.removeprefix("static_"), buffer)
        self.register_buffer("neck_kin_chain", torch.tensor([1, 0]))
        self.register_buffer("_faces", faces, persistent=False)

    _faces: torch.Tensor

    def image(self, vertices: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
        """Landmarks as a picture shows them: 17 of the visible contour, and 51 fixed.

        Args:
            vertices: (B, V, 3).
            rotations: (B, 5, 3, 3), the joints' own, as `Flame` gives them.

        Returns:
            (B, 68, 3), in the vertices' frame.
        """
        rows = contour_rows(rotations)
        frames = len(vertices)
        triangles = torch.cat(
            [self.dynamic_lmk_faces_idx[rows], self.lmk_faces_idx.expand(frames, -1)], dim=1
        )
        weights = torch.cat(
            [self.dynamic_lmk_bary_coords[rows], self.lmk_bary_coords.expand(frames, -1, -1)], dim=1
        )
        return self._points(vertices, triangles, weights)

    def head(self, vertices: torch.Tensor) -> torch.Tensor:
        """Landmarks at fixed places of the head, (B, 68, 3) of vertices (B, V, 3)."""
        frames = len(vertices)
        return self._points(
            vertices,
            self.full_lmk_faces_idx.expand(frames, -1),
            self.full_lmk_bary_coords.expand(frames, -1, -1),
        )

    def _points(
        self, vertices: torch.Tensor, triangles: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """Points (B, n, 3) in triangles (B, n) of the mesh, by weights (B, n, 3)."""
        frames = torch.arange(len(vertices), device=vertices.device)[:, None, None]
        corners = vertices[frames, self._faces[triangles]]
        return (corners * weights[..., None]).sum(dim=2)
