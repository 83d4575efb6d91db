"""Estimators of the light on a face, from its picture and its landmarks, frame by frame.

What is found in a frame depends on that frame alone: no window in time steadies it, for its
unsteadiness is measured too.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import Grade
from stages.models.light import (
    LUMINANCE,
    SkinSamples,
    fit_light,
    sample_skin,
    skin_triangles,
    white_balance,
)
from stages.models.offer import Offer
from stages.models.topology import MESH_POINTS, face_mesh_triangles

_CORNER = np.array([0.5, 0.5, 0], np.float32)  # to coordinates in which pixel i begins at i
_RIDGE = 0.02  # as the geometry stage has it


@dataclass(frozen=True)
class Lights:
    """The light on n faces; NaN where nothing of a face could be used.

    Attributes:
        rgb: float32 (n, 9, 3), coefficients by colour, DECA's basis and order.
        luminance: float32 (n, 9), those of the light's luminance (BT.709).
    """

    rgb: NDArray[np.float32]
    luminance: NDArray[np.float32]


class LightEstimator(Protocol):
    """Finds the light on faces."""

    def __call__(self, frames: list[NDArray[np.uint8]], points: NDArray[np.float32]) -> Lights:
        """The light on the face of each frame.

        Args:
            frames: n pictures (S, S, 3), RGB.
            points: (n, 478, 3), MediaPipe's landmarks in pixels.
        """


class MeshLight:
    """Least squares of skin on the normals of the landmarks' mesh (`stages.models.light`).

    Only the product of light and skin can be seen. So the mean colour of the skin is taken out of
    the coefficients by colour, its luminance left in: what colour remains is that of light that
    differs from place to place.
    """

    def __init__(self) -> None:
        self._faces = face_mesh_triangles()
        self._skin = skin_triangles(self._faces)

    def __call__(self, frames: list[NDArray[np.uint8]], points: NDArray[np.float32]) -> Lights:
        """See `LightEstimator`."""
        rgb = np.full((len(frames), 9, 3), np.nan, np.float32)
        luminance = np.full((len(frames), 9), np.nan, np.float32)
        for place, frame in enumerate(frames):
            vertices = points[place : place + 1, :MESH_POINTS] + _CORNER
            samples = sample_skin([frame], vertices, self._faces, self._skin)
            if samples.weights.any():
                rgb[place], luminance[place] = _fit(samples)
        return Lights(rgb, luminance)


def _fit(samples: SkinSamples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coefficients (9, 3) and (9,) of one frame."""
    light = fit_light(samples, window=0, ridge=_RIDGE).light
    return white_balance(light, samples)[0], (light[0] @ LUMINANCE).astype(np.float32)


LightName = Literal["mesh", "deca"]


@dataclass(frozen=True)
class LightOffer:
    """An estimator on offer.

    Attributes:
        words: What it is, for tables.
        grade: The field's own, or a stand-in.
        offer: How it is loaded: a `LightEstimator` without arguments.
    """

    words: str
    grade: Grade
    offer: Offer


LIGHTS: dict[LightName, LightOffer] = {
    "deca": LightOffer(
        "DECA's light code",
        "standard",
        Offer(
            "evaluation.metrics.deca_light:DecaLight", ("deca",), ("torch", "timm", "safetensors")
        ),
    ),
    "mesh": LightOffer(
        "least squares on the face mesh",
        "embedded",
        Offer("evaluation.metrics.lights:MeshLight", ("face_mesh_topology",)),
    ),
}
"""Estimators by name, the best first."""
