"""Estimators of the light on a face, from its picture and its landmarks, frame by frame.

What is found in a frame depends on that frame alone: no window in time steadies it, for its
unsteadiness is measured too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import Grade
from evaluation.metrics.standard import at_hand
from stages.models.light import (
    LUMINANCE,
    SkinSamples,
    fit_light,
    sample_skin,
    skin_triangles,
    white_balance,
)
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
        weights: Names, in the weights registry, of the files that it loads.
        path: ``"module:Class"``, imported by `load`: a network needs torch.
    """

    words: str
    grade: Grade
    weights: tuple[str, ...]
    path: str

    def load(self) -> LightEstimator:
        """The estimator, ready.

        Raises:
            WeightsError: A weight is missing, or is not what it should be.
        """
        module, _, name = self.path.partition(":")
        make: Callable[[], LightEstimator] = getattr(import_module(module), name)
        return make()


LIGHTS: dict[LightName, LightOffer] = {
    "mesh": LightOffer(
        "least squares on the face mesh",
        "embedded",
        ("face_mesh_topology",),
        "evaluation.metrics.lights:MeshLight",
    ),
    "deca": LightOffer(
        "DECA's light code", "standard", ("deca",), "evaluation.metrics.deca_light:DecaLight"
    ),
}
"""Estimators by name."""


def light_here() -> LightName:
    """The best estimator that this machine can run."""
    return "deca" if at_hand(LIGHTS["deca"].weights) else "mesh"
