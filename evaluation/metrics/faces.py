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
from evaluation.metrics.chunks import ChunkedPass
from evaluation.metrics.lights import LIGHTS, LightEstimator, LightName
from evaluation.metrics.origins import versions
from evaluation.metrics.seen import seen_landmarks
from stages.geometry import Geometry
from stages.landmarks import Landmarks
from stages.models.faces import FACE_MODELS, face_model
from stages.models.mirror import LANDMARKS

_CHUNK = 16  # frames; what was seen is remembered long enough for others with such chunks


class Faces(Extractor):
    """Landmarks by MediaPipe's nets, and the light by one of `LIGHTS`.

    Features of T frames, NaN where no face was found:
        landmarks: float32 (T, 478, 3), pixels of the film, z in the same unit.
        light: float32 (T, 9, 3), coefficients by colour.
        luminance: float32 (T, 9), those of the light's luminance.
        size: int32 scalar, side of the frames in pixels.

    Args:
        light: Name of the light's estimator.
    """

    name = "faces"

    def __init__(self, light: LightName) -> None:
        self.light: LightName = light
        self._estimator: LightEstimator | None = None

    def weights(self) -> tuple[str, ...]:
        """The face model's and the estimator's."""
        return (*FACE_MODELS["mediapipe"].weights, *LIGHTS[self.light].offer.weights)

    def options(self) -> Mapping[str, Any]:
        """The estimator, and the stages whose models look."""
        return {"light": self.light, "stages": versions(Landmarks, Geometry)}

    def setup(self) -> None:
        """Load the nets."""
        face_model("mediapipe")
        self._estimator = LIGHTS[self.light].offer.load()()

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


class _FacePass(ChunkedPass):
    """Frames on their way through `Faces`."""

    def __init__(self, frames: int, size: int, estimator: LightEstimator) -> None:
        super().__init__(_CHUNK)
        self._estimator = estimator
        self._size = size
        self._seen = 0
        self._landmarks = np.full((frames, LANDMARKS, 3), np.nan, np.float32)
        self._light = np.full((frames, 9, 3), np.nan, np.float32)
        self._luminance = np.full((frames, 9), np.nan, np.float32)

    def see(self, chunk: NDArray[np.uint8]) -> None:
        places, pictures = [], []
        for place, frame in enumerate(chunk, start=self._seen):
            points = seen_landmarks(frame)
            if points is not None:
                self._landmarks[place] = points
                places.append(place)
                pictures.append(frame)
        if places:
            lights = self._estimator(pictures, self._landmarks[places])
            self._light[places], self._luminance[places] = lights.rgb, lights.luminance
        self._seen += len(chunk)

    def result(self) -> dict[str, NDArray[Any]]:
        return {
            "landmarks": self._landmarks,
            "light": self._light,
            "luminance": self._luminance,
            "size": np.array(self._size, np.int32),
        }


def faces_of(case: CaseFeatures, role: Role) -> Features:
    """What `Faces` found in one of a case's films.

    Raises:
        ValueError: Nothing; see `CaseFeatures.of`.
    """
    return case.of(role, Faces.name)
