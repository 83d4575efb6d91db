"""The lights of a protocol: those on reference faces, and those known by name.

A light by name is given each face's own exposure, as `limelight relight` does. Coefficients are
rounded, so that the last digits of a fit, which a machine may turn otherwise, make no new cell.
"""

import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.cells.cell import LightTarget, Subject
from evaluation.cells.places import Places
from evaluation.protocols.lossless import Film
from evaluation.protocols.tables import Protocol
from infra.errors import UsageError
from infra.storage import write_atomic
from stages.face_fit import FaceFitter
from stages.models.face_geometry import FaceGeometry
from training.relight.light import Scene, lights

DECIMALS = 4
"""Of coefficients; what they shade is in 0..1, in steps of 1/255."""

_NORMALS_SIZE = 96  # pixels across, for the mean over a face


class Lighting:
    """Finds lights as a protocol says; models are loaded at the first.

    Args:
        protocol: What it says.
        places: Where pictures are kept.
    """

    def __init__(self, protocol: Protocol, places: Places) -> None:
        self._protocol = protocol
        self._places = places

    def named(self, subject: Subject, names: Sequence[str]) -> list[LightTarget]:
        """Lights by name, as bright as the subject's own.

        Raises:
            UsageError: No face is found in the subject's square.
        """
        if not names:
            return []
        own = self._geometry(subject.film)
        (surface,) = self._fitter.surfaces(own, _NORMALS_SIZE)
        scene = Scene(1, 1.0, own.light[0], surface.normals, _no_file)
        return [LightTarget(name, _rounded(lights(name, scene)[0])) for name in names]

    def of_face(self, name: str, face: Film) -> LightTarget:
        """The light on a reference face.

        Args:
            name: What it is called.
            face: Its square, a film of one frame.

        Raises:
            UsageError: No face is found in it.
            LakeError: The disk is full or read-only.
        """
        light = self._geometry(face).light[0]
        return LightTarget(name, _rounded(light), self._picture(face), face)

    @cached_property
    def _fitter(self) -> FaceFitter:
        table = self._protocol.lights
        return FaceFitter(landmarks=self._protocol.cut.landmarks, geometry=table.geometry)

    def _geometry(self, film: Film) -> FaceGeometry:
        """Shape and light in the first frame that shows a face."""
        for picture in film.pictures():
            found = self._fitter.picture(picture)
            if found is not None:
                return found
        raise UsageError("no face is found in its square, so that its light is not known")

    def _picture(self, face: Film) -> Path:
        """The face as a PNG beside its film, for methods that read pictures."""
        path = self._places.films / f"{face.digest}.png"
        if not path.is_file():
            data = io.BytesIO()
            Image.fromarray(next(face.pictures())).save(data, "png")
            write_atomic(path, data.getvalue(), point="benchmark.picture")
        return path


def _rounded(light: NDArray[np.float32]) -> NDArray[np.float32]:
    return (np.round(light.astype(np.float64), DECIMALS) + 0.0).astype(np.float32)


def _no_file(path: Path) -> NDArray[np.float32]:
    raise UsageError(f"{path} is no light's name")
