"""Stage `geometry`: the face as a mesh, the light on it, and its shading render.

The embedded grade poses MediaPipe's face mesh by the landmarks and fits the light to the
skin (see `stages.models.light`). Frames: light and pose are told in the camera frame,
right-handed, x right, y up, z towards the viewer, as DECA's are.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.base import Product, Stage, StageConfig
from stages.clip import Clip
from stages.models.light import (
    fit_light,
    grey_light,
    main_direction,
    sample_skin,
    skin_triangles,
    white_balance,
)
from stages.models.pose import head_pose
from stages.models.shading import (
    camera_frame,
    render_shape,
    vertex_normals,
    visible_surface,
)
from stages.models.topology import face_mesh_triangles
from stages.portrait import portrait_landmarks, write_film


class GeometryConfig(StageConfig):
    """How the face's shape and light are found."""

    model: Literal["mediapipe_mesh"] = "mediapipe_mesh"
    """Where the shape comes from: `mediapipe_mesh` is the mesh of the landmarks."""

    light_colour: Literal["grey", "rgb"] = "grey"
    """`grey`: the light's luminance in all colours. `rgb`: each colour by itself, the clip's
    mean skin colour taken out of them."""

    light_window: float = Field(0.4, ge=0, le=60)
    """Standard deviation in seconds of the symmetric window over which frames share their
    light; 0 fits each by itself."""

    light_ridge: float = Field(0.02, ge=1e-6, le=10)
    """Strength of the prior for even light; more gives flatter shading."""

    crf: int = Field(18, ge=0, le=51)
    """Constant rate factor of the shading film (x264; smaller is better and larger)."""


class Geometry(Stage[GeometryConfig]):
    """Mesh, light, head pose and shading render of every frame.

    Makes ``params.npz``, T frames of:
        landmarks: float32 (T, 478, 3), pixels of the normal form (`portrait_landmarks`).
        light: float32 (T, 9, 3), spherical-harmonic coefficients by RGB in DECA's order.
        residual: float32 (T,), how far the render is from the skin, of 1 (`LightFit`).
        valid: bool (T,), False where the landmarks were filled in.
        rotation, scale, translation: the head's pose, and
        head: float32 (478, 3), the clip's mean head (`stages.models.pose.HeadPose`).

    and ``mesh.mp4``, LCVD's shading hint: the mesh in grey 180/255 under the light, on black.
    """

    name = "geometry"
    needs = ("landmarks", "frame")
    Config = GeometryConfig

    def weights(self) -> tuple[str, ...]:
        """The list of the mesh's triangles."""
        return ("face_mesh_topology",)

    def setup(self) -> None:
        """Read the mesh's triangles."""
        self._faces = face_mesh_triangles()
        self._skin = skin_triangles(self._faces)

    def process(self, clip: Clip) -> Product:
        """Fit and render a clip; its frames are read once."""
        landmarks = portrait_landmarks(clip)
        valid = clip.arrays("landmarks", "landmarks.npz")["valid"]
        # From pixel indices to the rasteriser's coordinates, where pixel i begins at i.
        vertices = landmarks[:, : self._faces.max() + 1] + np.array([0.5, 0.5, 0], np.float32)
        samples = sample_skin(clip.portrait, vertices, self._faces, self._skin).only(valid)
        fit = fit_light(
            samples,
            window=self.config.light_window * float(Fraction(clip.facts["frame"]["fps"])),
            ridge=self.config.light_ridge,
        )
        if self.config.light_colour == "grey":
            light = grey_light(fit.light)
        else:
            light = white_balance(fit.light, samples)
        pictures = shading_pictures(vertices, self._faces, light, clip.portrait.size)
        film = write_film(clip, "mesh.mp4", pictures, crf=self.config.crf)
        pose = head_pose(camera_frame(landmarks))
        params = clip.scratch / "params.npz"
        np.savez(
            params,
            landmarks=landmarks,
            light=light,
            residual=fit.residual,
            valid=valid,
            rotation=pose.rotation,
            scale=pose.scale,
            translation=pose.translation,
            head=pose.head,
        )
        lit = samples.weights.any(axis=1)
        facts: dict[str, Any] = {"frames": len(landmarks), "lit_frames": int(lit.sum())}
        if lit.any():
            facts["mean_shading"] = round(float(fit.brightness[lit].mean()), 4)
            facts["light_direction"] = main_direction(light[lit])
            facts["residual"] = round(float(fit.residual[lit].mean()), 4)
        return Product(facts, {"params.npz": params, "mesh.mp4": film})


def shading_pictures(
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    light: NDArray[np.float32],
    size: int,
) -> Iterator[NDArray[np.uint8]]:
    """Render every frame of a clip, uint8 (size, size, 3).

    Args:
        vertices: (T, V, 3) in pixels of the picture (pixel ``i`` covers ``i`` to ``i + 1``),
            z in the same unit, smaller is nearer.
        faces: (F, 3).
        light: (T, 9, 3).
        size: Side of the picture.
    """
    for mesh, lit in zip(vertices, light, strict=True):
        normals = vertex_normals(camera_frame(mesh), faces)
        image_frame = mesh * np.float32(2 / size) - np.array([1, 1, 0], np.float32)
        yield render_shape(visible_surface(normals, image_frame, faces, (size, size)), lit)
