"""The lights of a protocol: those on reference faces, and those known by name.

A light by name is given each face's own exposure, as `limelight relight` does. Coefficients are
rounded, so that the last digits of a fit, which a machine may turn otherwise, make no new cell.
What was found is written down beside the films: another run of the same clips fits nothing.
"""

import io
import json
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
from infra.digests import canonical_json, digest_json
from infra.errors import UsageError
from infra.storage import write_atomic
from stages.face_fit import FaceFitter
from stages.geometry import Geometry
from stages.landmarks import Landmarks, LandmarksConfig
from stages.models.face_geometry import FaceGeometry
from stages.models.spherical_harmonics import COEFFICIENTS
from training.relight.light import Scene, lights

VERSION = 1
"""Raised whenever other lights are found in the same films."""

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
        self._seen: tuple[str, Scene] | None = None

    def named(self, subject: Subject, names: Sequence[str]) -> list[LightTarget]:
        """Lights by name, as bright as the subject's own.

        Raises:
            UsageError: No face is found in the subject's square.
            DamagedFilm: Its film cannot be read.
            LakeError: The disk is full or read-only.
        """
        return [LightTarget(name, self._light(subject.film, name)) for name in names]

    def of_face(self, name: str, face: Film) -> LightTarget:
        """The light on a reference face.

        Args:
            name: What it is called.
            face: Its square, a film of one frame.

        Raises:
            UsageError: No face is found in it.
            DamagedFilm: The film cannot be read.
            LakeError: The disk is full or read-only.
        """
        return LightTarget(name, self._light(face, "reference"), self._picture(face), face)

    @cached_property
    def _fitter(self) -> FaceFitter:
        table = self._protocol.lights
        return FaceFitter(landmarks=self._protocol.cut.landmarks, geometry=table.geometry)

    @cached_property
    def _models(self) -> str:
        """Digest of all that decides how a face is fitted: versions, options, weights."""
        landmarks = Landmarks(LandmarksConfig(model=self._protocol.cut.landmarks))
        geometry = Geometry(self._protocol.lights.geometry)
        upstream = dict.fromkeys((*landmarks.needs, *geometry.needs), "")
        return geometry.fingerprint(upstream | {"landmarks": landmarks.fingerprint(upstream)})

    def _light(self, film: Film, name: str) -> NDArray[np.float32]:
        """The light (9, 3) of that name on a film's face: as it was written down, or found now."""
        key = {
            "version": VERSION,
            "film": film.digest,
            "models": self._models,
            "name": name,
            "meaning": _meaning(name),
        }
        path = self._places.films / f"{digest_json(key)[:32]}.json"
        light = _read(path)
        if light is None:
            light = _rounded(lights(name, self._scene(film))[0])
            told = light.tolist()
            text = canonical_json({"light": told, "seal": digest_json(told)})
            write_atomic(path, (text + "\n").encode(), point="benchmark.light")
        return light

    def _scene(self, film: Film) -> Scene:
        """The face in a film, kept for the film's other lights."""
        if self._seen is None or self._seen[0] != film.digest:
            own = self._geometry(film)
            (surface,) = self._fitter.surfaces(own, _NORMALS_SIZE)
            self._seen = film.digest, Scene(1, 1.0, own.light[0], surface.normals, _no_file)
        return self._seen[1]

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


def _meaning(name: str) -> list[list[float]]:
    """What a light's name stands for, its lamps and their scale: the light on a plain face."""
    own, normals = np.eye(COEFFICIENTS, 3, dtype=np.float32), np.eye(3, dtype=np.float32)
    meaning: list[list[float]] = _rounded(
        lights(name, Scene(1, 1.0, own, normals, _no_file))[0]
    ).tolist()
    return meaning


def _read(path: Path) -> NDArray[np.float32] | None:
    """A light that was written down; None where there is none, or it is damaged."""
    try:
        told = json.loads(path.read_bytes())
        light = np.asarray(told["light"], np.float32)
        whole = digest_json(told["light"]) == told["seal"] and light.shape == (COEFFICIENTS, 3)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return light if whole else None


def _no_file(path: Path) -> NDArray[np.float32]:
    raise UsageError(f"{path} is no light's name")
