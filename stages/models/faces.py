"""Face models by name: where faces are, and where each one's landmarks lie."""

from typing import Literal, Protocol

import numpy as np

from stages.models.face_detector import Face, FaceDetector
from stages.models.face_mesh import FaceMesh, Mesh
from stages.models.iris import Iris
from stages.models.roi import Roi

FaceModelName = Literal["mediapipe"]


class FaceModel(Protocol):
    """What a tracker asks of a face model. Pictures are (H, W, 3) uint8 RGB."""

    def detect(self, picture: np.ndarray, region: Roi | None = None) -> list[Face]:
        """Faces in an upright square region (by default the whole picture), best first."""

    def mesh(self, picture: np.ndarray, region: Roi) -> Mesh:
        """The mesh of the face in ``region``; its score says whether there is one."""

    def refine(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """All (478, 3) landmarks in pixels, from the mesh's (468, 3)."""


class MediapipeFaces:
    """MediaPipe's short-range detector, face mesh and iris nets."""

    weights = (*FaceDetector.weights, *FaceMesh.weights, *Iris.weights)

    def __init__(self, min_score: float = 0.5) -> None:
        self.detect = FaceDetector(min_score)
        self.mesh = FaceMesh()
        self.refine = Iris().refine


FACE_MODELS: dict[FaceModelName, type[MediapipeFaces]] = {"mediapipe": MediapipeFaces}


def search_faces(model: FaceModel, picture: np.ndarray) -> list[Face]:
    """Faces of a picture, small ones too: in all of it, else in ever smaller squares.

    The squares have the picture's short side, then half of it, and overlap by half. The first
    size at which there is a face ends the search.

    Args:
        model: Detects them.
        picture: (H, W, 3) uint8 RGB.

    Returns:
        Faces, the best score first; none twice.
    """
    height, width = picture.shape[:2]
    short = min(height, width)
    found = model.detect(picture)
    for side in (short, short / 2):
        if found:
            break
        regions = [
            Roi(x, y, side, side) for y in _centres(height, side) for x in _centres(width, side)
        ]
        found = [face for region in regions for face in model.detect(picture, region)]
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
    return search_faces(FACE_MODELS[model](), picture)


def face_landmarks(picture: np.ndarray, model: FaceModelName = "mediapipe") -> np.ndarray | None:
    """The (478, 3) landmarks in pixels of the largest face of a still picture, if it has one."""
    net = FACE_MODELS[model]()
    faces = search_faces(net, picture)
    if not faces:
        return None
    mesh = net.mesh(picture, max(faces, key=lambda face: face.size).roi())
    return net.refine(picture, mesh.points)


def _centres(length: int, side: float) -> np.ndarray:
    steps = int(np.ceil(2 * (length - side) / side)) + 1
    return np.linspace(side / 2, length - side / 2, steps)
