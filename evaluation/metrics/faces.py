"""The extractor `faces`: where the face is in each frame, and the light on it.

All metrics of faces share it, so that a face is searched for once a film. Every frame is looked
at by itself, as the published evaluations do: a tracker would see faces by habit where a method
has ruined them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import CaseFeatures, Extractor, FeaturePass, Features, Role
from evaluation.metrics.lights import LIGHTS, LightEstimator, LightName, light_here
from stages.models.faces import FACE_MODELS, face_landmarks, face_model
from stages.models.mirror import LANDMARKS

_CHUNK = 16  # frames that go through an estimator at once, however they come


class Faces(Extractor):
    """Landmarks by MediaPipe's nets, and the light by one of `LIGHTS`.

    Features of T frames, NaN where no face was found:
        landmarks: float32 (T, 478, 3), pixels of the film, z in the same unit.
        light: float32 (T, 9, 3), coefficients by colour.
        luminance: float32 (T, 9), those of the light's luminance.
        size: int32 scalar, side of the frames in pixels.

    Args:
        light: Name of the light's estimator; the best one here without.
    """

    name = "faces"

    def __init__(self, light: LightName | None = None) -> None:
        self.light: LightName = light or light_here()
        self._estimator: LightEstimator | None = None

    def weights(self) -> tuple[str, ...]:
        """The face model's and the estimator's."""
        return (*FACE_MODELS["mediapipe"].weights, *LIGHTS[self.light].weights)

    def options(self) -> Mapping[str, Any]:
        """The estimator."""
        return {"light": self.light}

    def setup(self) -> None:
        """Load the nets."""
        face_model("mediapipe")
        self._estimator = LIGHTS[self.light].load()

    def start(self, frames: int, size: int) -> FeaturePass:
        """Begin a film.

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._estimator is None:
            raise RuntimeError("faces: call setup before start")
        return _FacePass(frames, size, self._estimator)

    def close(self) -> None:
        """Let go of the estimator."""
        self._estimator = None


class _FacePass(FeaturePass):
    """Frames on their way through `Faces`, in chunks of fixed size."""

    def __init__(self, frames: int, size: int, estimator: LightEstimator) -> None:
        self._estimator = estimator
        self._size = size
        self._held: list[NDArray[np.uint8]] = []
        self._done = 0
        self._landmarks = np.full((frames, LANDMARKS, 3), np.nan, np.float32)
        self._light = np.full((frames, 9, 3), np.nan, np.float32)
        self._luminance = np.full((frames, 9), np.nan, np.float32)

    def add(self, frames: NDArray[np.uint8]) -> None:
        for frame in frames:
            self._held.append(frame.copy())  # the caller may use its array again
            if len(self._held) == _CHUNK:
                self._look()

    def finish(self) -> dict[str, NDArray[Any]]:
        self._look()
        return {
            "landmarks": self._landmarks,
            "light": self._light,
            "luminance": self._luminance,
            "size": np.array(self._size, np.int32),
        }

    def _look(self) -> None:
        places, pictures = [], []
        for place, frame in enumerate(self._held, start=self._done):
            points = face_landmarks(frame)
            if points is not None:
                self._landmarks[place] = points
                places.append(place)
                pictures.append(frame)
        if places:
            lights = self._estimator(pictures, self._landmarks[places])
            self._light[places], self._luminance[places] = lights.rgb, lights.luminance
        self._done += len(self._held)
        self._held = []


def faces_of(case: CaseFeatures, role: Role) -> Features:
    """What `Faces` found in one of a case's films."""
    return case.found[role][Faces.name]
