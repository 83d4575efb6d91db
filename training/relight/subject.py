"""Who is to be seen, where, and how they move: what a portrait and a driving video amount to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice, repeat
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from infra.errors import UsageError
from stages.geometry import GeometryConfig, geometry_model
from stages.models.face_geometry import FaceGeometry, FaceTrack, shading_pictures
from stages.models.faces import FaceModelName, face_landmarks
from stages.models.raster.renderer import load_renderer
from training.relight.align import Align, align_geometry, align_points
from training.relight.crop import FIT_SIZE, FaceSquare
from training.relight.film import DrivingFilm, Picture, read_picture

MAX_SIDE = 2048
"""Pixels of a reference's longer side; larger ones are averaged down: they become a video."""

Progress = Callable[[str, int, int | None], None]
"""Called with the part of the work, what is done of it, and how much there is, if that is known."""

_NORMALS_SIZE = 96  # pixels across, for the mean over a face


@dataclass(frozen=True)
class Subject:
    """A face that moves over T frames, and the picture that it is generated from.

    Attributes:
        film: The driving video.
        framing: The face's square in its frames.
        ground: The picture that all frames are pasted into; None for the film's own frames.
        square: The face's square in the ground.
        portrait: The reference's square (`FIT_SIZE`, `FIT_SIZE`, 3).
        own: The reference's geometry, of one frame, under its own light.
        own_points: The reference's landmarks (478, 3), pixels of `portrait`.
        geometry: The moving face's, in the square; under the reference's light.
        points: Its landmarks (T, 478, 3), pixels of the square cut to `FIT_SIZE`.
        facts: What a person may want to know, in JSON types.
    """

    film: DrivingFilm
    framing: FaceSquare
    ground: Picture | None
    square: FaceSquare
    portrait: Picture
    own: FaceGeometry
    own_points: NDArray[np.float32]
    geometry: FaceGeometry
    points: NDArray[np.float32]
    facts: dict[str, object]

    def __len__(self) -> int:
        """Frames."""
        return len(self.geometry)

    def grounds(self) -> Iterable[Picture]:
        """The picture that each frame's portrait is pasted into."""
        return self.film if self.ground is None else repeat(self.ground, len(self))


class FaceReader:
    """Finds faces, and draws them.

    Args:
        landmarks: Name of the landmark model.
        geometry: Geometry model and its options.

    Raises:
        UsageError: A package that a model needs is missing.
        WeightsError: A model's weights are missing, or are others.
    """

    def __init__(self, landmarks: FaceModelName, geometry: GeometryConfig) -> None:
        self._landmarks = landmarks
        self._model = geometry_model(geometry)
        self._model.ready()
        self._renderer = load_renderer(geometry.renderer)
        self.light = cache(self._light)

    def subject(
        self,
        film: DrivingFilm,
        reference: Path | None,
        align: Align,
        progress: Progress,
        *,
        whole: bool = False,
    ) -> Subject:
        """The subject of a driving video, and of a reference that is not in it.

        Args:
            film: The driving video.
            reference: A portrait that moves as the film's face does; None for the face in the
                film itself, whose first frame with that face is the reference then.
            align: How the motion is carried over to a portrait.
            progress: Called for the parts `track` and `fit`.
            whole: Film and portrait are faces' squares already, of which nothing is cut off.

        Raises:
            UsageError: No face is found.
        """
        portrait = None if reference is None else self._portrait(reference)
        track = film.track(self._landmarks, partial(progress, "track"))
        size = film.frame(0).shape[1::-1]
        framing = FaceSquare.whole(size[0]) if whole else FaceSquare.around([track.points], size)
        points = framing.place(track.points)
        geometry = self._fit(film, framing, points, track, progress)
        facts: dict[str, object] = {"seen": int(track.valid.sum()), "driver_crop": framing.crop}
        if portrait is None:
            at = int(track.valid.argmax())
            return Subject(
                film,
                framing,
                ground=None,
                square=framing,
                portrait=framing.cut(film.frame(at)),
                own=geometry.at([at]),
                own_points=points[at],
                geometry=geometry.under(geometry.light[at]),
                points=points,
                facts={**facts, "reference_frame": at, "crop": framing.crop},
            )
        ground, seen = portrait
        moved = align_points(seen[None], track.points, align)
        if whole:
            square = FaceSquare.whole(len(ground))
        else:  # room for the reference as it is, and for all that it will do
            square = FaceSquare.around([seen[None], moved], ground.shape[1::-1])
        cut, own_points = square.cut(ground), square.place(seen)
        own = self._model.fit([cut], FaceTrack.still(own_points, FIT_SIZE))
        return Subject(
            film,
            framing,
            ground=ground,
            square=square,
            portrait=cut,
            own=own,
            own_points=own_points,
            geometry=align_geometry(own, geometry, align),
            points=square.place(moved),
            facts={**facts, "crop": square.crop},
        )

    def shading(self, geometry: FaceGeometry, size: int) -> Iterable[Picture]:
        """The shading picture of every frame under its light, uint8 (size, size, 3)."""
        return shading_pictures(self._model, geometry, size, self._renderer)

    def normals(self, own: FaceGeometry) -> NDArray[np.float32]:
        """Normals (P, 3) of what is seen of a face of one frame."""
        size = (_NORMALS_SIZE, _NORMALS_SIZE)
        (surface,) = self._renderer.surfaces(self._model.meshes(own), size)
        return surface.normals

    def _light(self, path: Path) -> NDArray[np.float32]:
        """The light (9, 3) on the face of a picture, fitted as a subject's is."""
        picture, points = self._found(path, "light")
        square = FaceSquare.around([points[None]], picture.shape[1::-1])
        placed = square.place(points)
        return self._model.fit([square.cut(picture)], FaceTrack.still(placed, FIT_SIZE)).light[0]

    def _portrait(self, path: Path) -> tuple[Picture, NDArray[np.float32]]:
        return self._found(path, "reference")

    def _found(self, path: Path, what: str) -> tuple[Picture, NDArray[np.float32]]:
        """A picture, and the landmarks (478, 3) of its largest face."""
        picture = _reduced(read_picture(path, what))
        points = face_landmarks(picture, self._landmarks)
        if points is None:
            raise UsageError(
                f"no face is found in the {what} {path}",
                hint="choose a picture in which both eyes are seen and the face is 40 pixels high"
                " or more",
            )
        return picture, points.astype(np.float32)

    def _fit(
        self,
        film: DrivingFilm,
        framing: FaceSquare,
        points: NDArray[np.float32],
        track: FaceTrack,
        progress: Progress,
    ) -> FaceGeometry:
        def cuts() -> Iterable[Picture]:
            for index, frame in enumerate(islice(film, len(points))):
                progress("fit", index, len(points))
                yield framing.cut(frame)

        placed = FaceTrack(points, track.valid, track.fps, FIT_SIZE)
        fitted = self._model.fit(cuts(), placed)
        progress("fit", len(points), len(points))
        return fitted


def _reduced(picture: Picture) -> Picture:
    """The picture, its longer side `MAX_SIDE` at most."""
    longer = max(picture.shape[:2])
    if longer <= MAX_SIDE:
        return picture
    height, width = (max(round(side * MAX_SIDE / longer), 1) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
