"""Faces outside a build: a picture or frames in, parameters and light out.

What training, relighting and evaluation ask of landmarks and geometry; the stages of a build
ask the same models, with a clip's policies around them.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from stages.face_track import track_landmarks
from stages.geometry import GeometryConfig, geometry_model
from stages.models.face_geometry import FaceGeometry, FaceTrack, shading_pictures
from stages.models.faces import FaceModelName, face_landmarks
from stages.models.raster.renderer import load_renderer
from stages.models.shading import Surface


class FaceFitter:
    """Finds the shape and the light of the face in pictures, and renders them.

    Args:
        landmarks: Name of the landmark model.
        geometry: Geometry model and its options, as ``[geometry]`` has them.

    Raises:
        UsageError: A package that a model needs is missing.
        WeightsError: A model's weights are missing, or are others.
    """

    def __init__(
        self,
        *,
        landmarks: FaceModelName = "mediapipe",
        geometry: GeometryConfig = GeometryConfig(),  # noqa: B008 - frozen
    ) -> None:
        self._landmarks: FaceModelName = landmarks
        self._model = geometry_model(geometry)
        self._renderer = load_renderer(geometry.renderer)

    def picture(self, picture: NDArray[np.uint8]) -> FaceGeometry | None:
        """The largest face of a picture.

        Args:
            picture: uint8 RGB (H, W, 3).

        Returns:
            Its geometry, of one frame; None where there is no face.
        """
        points = face_landmarks(picture, self._landmarks)
        if points is None:
            return None
        return self._model.fit([picture], FaceTrack.still(points, max(picture.shape[:2])))

    def frames(self, frames: Iterable[NDArray[np.uint8]], fps: float) -> FaceGeometry | None:
        """The largest and most lasting face of frames that follow each other.

        Args:
            frames: uint8 RGB (H, W, 3), all of one size; gone through twice.
            fps: Frames a second, above 0.

        Returns:
            Its geometry in every frame; None where there is no face in any.

        Raises:
            ValueError: ``frames`` can be gone through only once, or ``fps`` is not above 0.
        """
        if iter(frames) is frames:
            raise ValueError("frames must be a sequence, or frames of a clip: not an iterator")
        track = track_landmarks(frames, fps=fps, model=self._landmarks)
        return self._model.fit(frames, track) if track else None

    def shading(self, geometry: FaceGeometry, size: int) -> Iterator[NDArray[np.uint8]]:
        """The shading picture of every frame, uint8 RGB (size, size, 3), under its light.

        Another light is a matter of `FaceGeometry.under`.
        """
        return shading_pictures(self._model, geometry, size, self._renderer)

    def surfaces(self, geometry: FaceGeometry, size: int) -> Iterator[Surface]:
        """What is seen of the face in every frame, in pictures of (size, size) pixels."""
        return self._renderer.surfaces(self._model.meshes(geometry), (size, size))
