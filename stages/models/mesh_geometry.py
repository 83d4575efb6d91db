"""Geometry of the embedded grade: MediaPipe's face mesh, posed by the landmarks themselves.

The landmarks are the shape; the light is fitted to the skin under them
(see `stages.models.light`), and the head's pose to the clip (see `stages.models.pose`).
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stages.models.face_geometry import FaceGeometry, FaceTrack
from stages.models.light import (
    LightFit,
    SkinSamples,
    fit_light,
    grey_light,
    main_direction,
    sample_skin,
    skin_triangles,
    white_balance,
)
from stages.models.pose import head_pose
from stages.models.raster.renderer import PosedMesh
from stages.models.shading import camera_frame
from stages.models.topology import MESH_POINTS, face_mesh_triangles

LightColour = Literal["grey", "rgb"]

# From pixel indices to the rasteriser's coordinates, where pixel i begins at i.
_CORNER = np.array([0.5, 0.5, 0], np.float32)


class MeshGeometry:
    """The mesh of 468 landmarks, and the light on its skin.

    Parameters of a fit:
        landmarks: float32 (T, 478, 3), pixels of the square picture of side `side`.
        side: int32 scalar.
        residual: float32 (T,), how far the render is from the skin, of 1 (`LightFit`).
        rotation, scale, translation: the head's pose, and
        head: float32 (478, 3), the clip's mean head (`stages.models.pose.HeadPose`).

    Args:
        light_colour: ``grey``: the light's luminance in all colours; ``rgb``: each colour by
            itself, the clip's mean skin colour taken out of them.
        light_window: Standard deviation in seconds of the symmetric window over which frames
            share their light; 0 fits each by itself.
        light_ridge: Strength of the prior for even light.
    """

    def __init__(
        self,
        *,
        light_colour: LightColour = "grey",
        light_window: float = 0.4,
        light_ridge: float = 0.02,
    ) -> None:
        self._colour = light_colour
        self._window = light_window
        self._ridge = light_ridge
        self._faces = face_mesh_triangles()
        self._skin = skin_triangles(self._faces)

    def ready(self) -> None:
        """See `stages.models.face_geometry.GeometryModel`; it takes nothing more."""

    def fit(self, frames: Iterable[NDArray[np.uint8]], track: FaceTrack) -> FaceGeometry:
        """Fit the light and the pose of a clip; its frames are read once."""
        vertices = track.points[:, :MESH_POINTS] + _CORNER
        samples = sample_skin(frames, vertices, self._faces, self._skin).only(track.valid)
        fit = fit_light(samples, window=self._window * track.fps, ridge=self._ridge)
        if self._colour == "grey":
            light = grey_light(fit.light)
        else:
            light = white_balance(fit.light, samples)
        pose = head_pose(camera_frame(track.points))
        parameters = {
            "landmarks": track.points,
            "residual": fit.residual,
            "valid": track.valid,
            "rotation": pose.rotation,
            "scale": pose.scale,
            "translation": pose.translation,
            "head": pose.head,
        }
        return FaceGeometry(light, parameters, track.size, _facts(samples, fit, light))

    def meshes(self, geometry: FaceGeometry) -> Iterator[PosedMesh]:
        """Each frame's mesh, where its landmarks are."""
        for points in geometry.parameters["landmarks"]:
            yield posed_mesh(points[:MESH_POINTS] + _CORNER, self._faces, geometry.size)


def posed_mesh(vertices: NDArray[np.float32], faces: NDArray[np.int32], side: int) -> PosedMesh:
    """The mesh of vertices that are given in a picture.

    Args:
        vertices: (V, 3) in pixels of a square picture (pixel ``i`` covers ``i`` to ``i + 1``),
            z in the same unit, smaller is nearer.
        faces: (F, 3).
        side: Of that picture.
    """
    image_frame = vertices * np.float32(2 / side) - np.array([1, 1, 0], np.float32)
    return PosedMesh(camera_frame(vertices), image_frame, faces)


def _facts(samples: SkinSamples, fit: LightFit, light: NDArray[np.float32]) -> dict[str, Any]:
    lit = samples.weights.any(axis=1)
    facts: dict[str, Any] = {"lit_frames": int(lit.sum())}
    if lit.any():
        facts["mean_shading"] = round(float(fit.brightness[lit].mean()), 4)
        facts["light_direction"] = main_direction(light[lit])
        facts["residual"] = round(float(fit.residual[lit].mean()), 4)
    return facts
