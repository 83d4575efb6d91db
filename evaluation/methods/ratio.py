"""Classical relighting: the film's own pixels times a quotient image, without any learnt prior.

Shape and light of the face are fitted as a build fits them. The ratio of its shading under the
wanted light to that under its own is carried from the face over the portrait, whose ground stays
as it is (`training.samples.quotient`, after Shashua and Riklin-Raviv 2001). Geometry as coarse as
this knows no cast shadow and no gloss.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.methods.base import (
    FilmLike,
    Light,
    Method,
    MethodError,
    MethodOptions,
    Picture,
    Scratch,
)
from evaluation.methods.needs import (
    face_stages,
    lacking,
    packages_of_stages,
    versions_of_stages,
    weights_of_stages,
)
from stages.face_fit import FaceFitter
from stages.geometry import GeometryConfig
from stages.matting import MattingConfig, MattingModel, matting_model
from stages.models.face_geometry import FaceGeometry
from stages.models.faces import FaceModelName
from training.samples.quotient import applied, coarse, gain, headroom, ratio, skin_of


class RatioOptions(MethodOptions):
    """Which models find the face, its light, and the ground."""

    landmarks: FaceModelName = "mediapipe"
    """Name of the landmark model."""
    geometry: GeometryConfig = GeometryConfig()
    """Geometry model and its options, as in a build."""
    matting: MattingConfig = MattingConfig()
    """Matting model and its options, as in a build."""


class Ratio(Method):
    """Multiplies the film by the ratio of two shadings."""

    name = "ratio"

    _fitter: FaceFitter
    _matting: MattingModel

    def __init__(self, table: RatioOptions = RatioOptions()) -> None:  # noqa: B008 - frozen
        self._table = table
        self._stages = face_stages(table.landmarks, table.geometry, table.matting)

    def weights(self) -> tuple[str, ...]:
        """Those of the models that are chosen."""
        return weights_of_stages(self._stages)

    def options(self) -> dict[str, object]:
        """The models, and what they were told."""
        return {
            "landmarks": self._table.landmarks,
            "geometry": self._table.geometry.deciding(),
            "matting": self._table.matting.deciding(),
            "stages": versions_of_stages(self._stages),
        }

    def unavailable(self) -> str:
        """Which package or weight is missing."""
        return lacking(packages_of_stages(self._stages), self.weights())

    def seconds(self, frames: int, gpu: bool) -> float:
        """Enough for the largest of the models, all on one core of a processor."""
        return 300.0 + 20.0 * frames

    def setup(self) -> None:
        """Load the models."""
        table = self._table
        self._fitter = FaceFitter(landmarks=table.landmarks, geometry=table.geometry)
        self._matting = matting_model(table.matting)

    def close(self) -> None:
        """Let go of them."""
        del self._fitter, self._matting

    def relight(self, driving: FilmLike, light: Light, scratch: Scratch) -> Iterator[Picture]:
        """The film under the light, in its strength and colour as far as skin stays below white.

        Raises:
            MethodError: No face is found.
        """
        clip = _Clip(driving)
        geometry = self._fitter.frames(clip, float(driving.fps))
        if geometry is None:
            raise MethodError("no face is found in any frame of the driving film")
        brighter = self._headroom(clip, geometry, light.coefficients)
        mattes = self._matting.masks(clip, driving.size)
        gains = self._gains(driving.size, geometry, light.coefficients, brighter)
        for picture, matte, each in zip(clip, mattes, gains, strict=True):
            yield applied(picture, matte, each)

    def _headroom(self, clip: "_Clip", geometry: FaceGeometry, light: NDArray[np.float32]) -> float:
        """One factor for all frames: were it each frame's own, the film would flicker."""
        surfaces = self._fitter.surfaces(geometry, coarse(clip.film.size))
        skin, ratios = [], []
        for picture, surface, own in zip(clip, surfaces, geometry.light, strict=True):
            skin.append(skin_of(picture, surface))
            ratios.append(ratio(surface, own, light))
        seen = np.concatenate(skin)
        return headroom(seen, np.concatenate(ratios)) if len(seen) else 1.0

    def _gains(
        self, size: int, geometry: FaceGeometry, light: NDArray[np.float32], brighter: float
    ) -> Iterator[NDArray[np.float32]]:
        surfaces = self._fitter.surfaces(geometry, coarse(size))
        for surface, own in zip(surfaces, geometry.light, strict=True):
            yield gain(surface, ratio(surface, own, light) * np.float32(brighter))


@dataclass(frozen=True)
class _Clip:
    """A film's frames, as often as one likes."""

    film: FilmLike

    def __iter__(self) -> Iterator[Picture]:
        return self.film.pictures()
