"""Following faces through a clip, frame by frame.

A face is followed by its mesh: the region of one frame comes from the landmarks of the frame
before, so that the detector is idle most of the time. It looks again at intervals, and at
once where a face was lost.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from stages.models.face_detector import Face
from stages.models.face_mesh import Mesh
from stages.models.faces import FaceModel, distinct, search_faces
from stages.models.roi import Roi

MAX_TRACKS = 4
COMPARABLE = 0.5
"""A face smaller than this share of the largest one is background."""

_NEIGHBOURHOOD = 3.0  # side of the square in which a known face is looked for, in faces
_DRIFT = 0.35  # how far a mesh may lie from where the detector sees the face, in faces


@dataclass
class Track:
    """One face through the clip.

    Attributes:
        mesh: Its latest mesh, in the last of `frames`.
        frames: Indices of the frames in which it was seen, rising.
        sizes: Its mesh's size in each of these, pixels.
        centres: Its mesh's centre in each, (2,) pixels.
        scores: Its mesh's score in each, 0..1.
        points: All of its landmarks in each, (478, 3) float32, pixels.
        weight: Size times persistence: what makes a face the clip's subject.
    """

    # Of the meshes before, two thirds of a track's memory, nobody would ask more.
    mesh: Mesh = field(init=False)
    frames: list[int] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    centres: list[np.ndarray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    weight: float = 0.0

    def add(self, frame: int, mesh: Mesh, points: np.ndarray) -> None:
        """Note that the face was seen; a second look at a frame takes the place of the first."""
        if self.frames and self.frames[-1] == frame:
            self.weight -= self.mesh.size
            for each in (self.frames, self.sizes, self.centres, self.scores, self.points):
                each.pop()
        self.weight += mesh.size
        self.mesh = mesh
        self.frames.append(frame)
        self.sizes.append(mesh.size)
        self.centres.append(mesh.centre)
        self.scores.append(mesh.score)
        self.points.append(points)

    def seen(self, frames: int) -> np.ndarray:
        """In which of the clip's ``frames`` it was seen: (frames,) bool."""
        return np.isin(np.arange(frames), self.frames)

    def distance(self, centre: np.ndarray) -> float:
        """How far a point is from the face's latest centre, in faces."""
        return float(np.linalg.norm(centre - self.mesh.centre)) / self.mesh.size


@dataclass(frozen=True)
class Followed:
    """What was seen in a clip.

    Attributes:
        frames: Number of frames.
        tracks: The faces, the weightiest first.
        faces: Most faces of comparable size seen at once.
        crowded: Share of the frames with more than one such face.
        detected: Most faces that the detector saw at once, whatever their size or clarity.
        width: The frames', pixels.
        height: The frames', pixels.
    """

    frames: int
    tracks: list[Track]
    faces: int
    crowded: float
    detected: int
    width: int
    height: int


class FaceFollower:
    """Follows up to four faces of comparable size.

    Args:
        model: The nets.
        min_score: Face flag below which a mesh is no face, 0..1.
        interval: Frames from one look of the detector to the next.
        patience: Frames for which a lost face is looked for in every frame; after that it may
            still return where it was, but is found at the intervals only.
    """

    def __init__(self, model: FaceModel, *, min_score: float, interval: int, patience: int) -> None:
        self._model = model
        self._min_score = min_score
        self._interval = interval
        self._patience = patience

    def follow(self, frames: Iterable[np.ndarray]) -> Followed:
        """Follow the faces of a clip; its frames (H, W, 3) uint8 RGB are seen once, in order."""
        tracks: list[Track] = []
        living: list[Track] = []
        counts: list[int] = []
        detected = width = height = 0
        for index, picture in enumerate(frames):
            height, width = picture.shape[:2]
            for track in living:
                if track.frames[-1] == index - 1:
                    self._see(track, index, picture, track.mesh.roi())
            due = index % self._interval == 0
            if due or any(track.frames[-1] != index for track in living):
                faces = self._look(picture, living, index, thorough=due)
                detected = max(detected, len(faces))
                self._attend(faces, index, picture, tracks, living)
            living = _apart([t for t in tracks if index - t.frames[-1] <= self._patience])
            sizes = [track.mesh.size for track in living if track.frames[-1] == index]
            counts.append(sum(size >= COMPARABLE * max(sizes) for size in sizes))
        tracks.sort(key=lambda track: -track.weight)
        crowded = sum(count > 1 for count in counts) / max(len(counts), 1)
        return Followed(
            frames=len(counts),
            tracks=tracks,
            faces=max(counts, default=0),
            crowded=crowded,
            detected=detected,
            width=width,
            height=height,
        )

    def _see(self, track: Track, index: int, picture: np.ndarray, region: Roi) -> bool:
        """Add to a track the face in a region, if there is one."""
        mesh = self._model.mesh(picture, region)
        if mesh.score < self._min_score:
            return False
        track.add(index, mesh, self._model.refine(picture, mesh.points).astype(np.float32))
        return True

    def _look(
        self, picture: np.ndarray, living: list[Track], index: int, *, thorough: bool
    ) -> list[Face]:
        """Ask the detector: everywhere, and closely around each face known."""
        if thorough:
            seen = any(track.frames[-1] == index for track in living)
            faces = search_faces(self._model, picture, deep=not seen)
        else:
            faces = self._model.detect(picture)
        for track in living:
            side = _NEIGHBOURHOOD * track.mesh.size
            if side < max(picture.shape[:2]):
                x, y = map(float, track.mesh.centre)
                faces += self._model.detect(picture, Roi(x, y, side, side))
        return distinct(faces)

    def _attend(
        self,
        faces: list[Face],
        index: int,
        picture: np.ndarray,
        tracks: list[Track],
        living: list[Track],
    ) -> None:
        """Give detected faces to their tracks, old ones too, and start tracks with new ones."""
        strangers = [f for f in faces if all(t.distance(f.centre) >= 1 for t in living)]
        largest = max((track.mesh.size for track in living), default=0.0)
        for track in living:
            face = min(faces, key=lambda face: track.distance(face.centre), default=None)
            if face is None or (distance := track.distance(face.centre)) >= 1:
                continue
            if track.frames[-1] < index or distance > _DRIFT:
                self._see(track, index, picture, face.roi())
        for face in strangers[: MAX_TRACKS - len(living)]:
            if face.size < COMPARABLE * largest:
                continue
            old = [track for track in tracks if track.distance(face.centre) < 1]
            track = old[0] if old else Track()
            if self._see(track, index, picture, face.roi()) and not old:
                tracks.append(track)


def _apart(tracks: list[Track]) -> list[Track]:
    """The tracks, without those that have come to follow the face of a weightier one."""
    kept: list[Track] = []
    for track in sorted(tracks, key=lambda track: -track.weight):
        if all(other.distance(track.mesh.centre) > _DRIFT for other in kept):
            kept.append(track)
    return kept
