"""Face models by name: where faces are, and where each one's landmarks lie."""

import threading
from collections.abc import Mapping
from functools import partial
from typing import Literal, Protocol

import numpy as np

from stages.models.face_detector import Face, FaceDetector
from stages.models.face_mesh import FaceMesh, Mesh
from stages.models.iris import Iris
from stages.models.offer import Offer
from stages.models.roi import Roi

FaceModelName = Literal["mediapipe", "face_landmarker"]

_NEARLY_SQUARE = 1.2


class FaceModel(Protocol):
    """What a tracker asks of a face model. Pictures are (H, W, 3) uint8 RGB."""

    def detect(self, picture: np.ndarray, region: Roi | None = None) -> list[Face]:
        """Faces in an upright square region (by default the whole picture), best first."""

    def mesh(self, picture: np.ndarray, region: Roi) -> Mesh:
        """The mesh of the face in ``region``; its score says whether there is one."""

    def refine(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """All (478, 3) landmarks in pixels, from the mesh's (468 or 478, 3)."""

    def describe(self, points: np.ndarray, *, width: int, height: int) -> Mapping[str, np.ndarray]:
        """What else the model reads from landmarks (T, 478, 3): arrays of first axis T by name.

        Args:
            points: Pixels.
            width: The picture's, pixels.
            height: The picture's, pixels.
        """


class MediapipeFaces:
    """MediaPipe's short-range detector, face mesh and iris nets."""

    def __init__(self, min_score: float = 0.5) -> None:
        self.detect = FaceDetector(min_score)
        self.mesh = FaceMesh()
        self.refine = Iris().refine

    def describe(self, points: np.ndarray, *, width: int, height: int) -> Mapping[str, np.ndarray]:
        """Nothing: these nets tell where landmarks are, no more."""
        return {}


FACE_MODELS: dict[FaceModelName, Offer] = {
    "mediapipe": Offer(
        "stages.models.faces:MediapipeFaces",
        (*FaceDetector.weights, *FaceMesh.weights, *Iris.weights),
    ),
    "face_landmarker": Offer(
        "stages.models.face_landmarker.model:FaceLandmarker", ("face_landmarker",)
    ),
}
"""Face models by the name that a config gives."""

_kept = threading.local()  # a net serves one thread at a time


def face_model(name: FaceModelName) -> FaceModel:
    """A face model by name, loaded once in each thread that asks for it.

    Raises:
        WeightsError: Its weights cannot be had, or are damaged.
    """
    models: dict[str, FaceModel] = _kept.__dict__
    if name not in models:
        models[name] = FACE_MODELS[name].load()()
    return models[name]


def search_faces(model: FaceModel, picture: np.ndarray, *, deep: bool = True) -> list[Face]:
    """Faces of a picture, smaller ones too: in all of it, and in squares of its short side.

    Args:
        model: Detects them.
        picture: (H, W, 3) uint8 RGB.
        deep: Look in squares of half that side, if there is no face so far.

    Returns:
        Faces, the best score first; none twice.
    """
    short = min(picture.shape[:2])
    found = model.detect(picture)
    if max(picture.shape[:2]) > _NEARLY_SQUARE * short:
        found += _search_squares(model, picture, short)
    if deep and not found:
        found = _search_squares(model, picture, short / 2)
    return distinct(found)


def distinct(faces: list[Face]) -> list[Face]:
    """The same faces, best score first, without those whose centre lies in a better one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not any(better.holds(face.centre) for better in kept):
            kept.append(face)
    return kept


def detect_faces(picture: np.ndarray, model: FaceModelName = "mediapipe") -> list[Face]:
    """Faces of a still picture (H, W, 3), uint8 RGB, the best score first."""
    return search_faces(face_model(model), picture)


def face_landmarks(
    picture: np.ndarray, model: FaceModelName = "mediapipe", *, min_score: float = 0.9
) -> np.ndarray | None:
    """Landmarks of the largest face of a still picture.

    The detector's look at the whole picture decides, as in MediaPipe: only if it shows no
    clear face are smaller ones searched for.

    Args:
        picture: (H, W, 3) uint8 RGB.
        model: Name of the nets.
        min_score: Face flag of the mesh net below which there is no face, 0..1.

    Returns:
        (478, 3) float64 in pixels; None where there is no face.
    """
    net = face_model(model)
    for look in (net.detect, partial(search_faces, net)):
        meshes = [net.mesh(picture, face.roi()) for face in look(picture)]
        clear = [mesh for mesh in meshes if mesh.score >= min_score]
        if clear:
            return net.refine(picture, max(clear, key=lambda mesh: mesh.size).points)
    return None


def _search_squares(model: FaceModel, picture: np.ndarray, side: float) -> list[Face]:
    """Faces in squares that cover the picture and overlap by half or more."""
    rows, columns = (
        np.linspace(side / 2, length - side / 2, int(np.ceil(2 * (length - side) / side)) + 1)
        for length in picture.shape[:2]
    )
    squares = [Roi(float(x), float(y), side, side) for y in rows for x in columns]
    return [face for square in squares for face in model.detect(picture, square)]
