"""Shading and keypoint maps of a window: drawn from the release's numbers, or read from its films.

Drawing loses nothing, and knows any light, any cut and any size. What a release does not tell in
numbers (landmarks, where a build by DECA left them out; a head model whose weights are not on
this machine) is read from its films.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from infra.errors import UsageError, WeightsError
from stages.geometry import GEOMETRY_MODELS
from stages.kpmap import SQUARES, STROKES, draw_keypoints
from stages.models.face_geometry import FaceGeometry, GeometryModel
from stages.models.mirror import MIRRORED
from stages.models.raster.renderer import PROCESSOR
from stages.models.shading import Surface
from training.data import ReleaseClips
from training.samples.view import View

_LOG = logging.getLogger(__name__)
_LANDMARKS = "landmarks"
_NAMES = {
    "mediapipe_mesh": {_LANDMARKS},
    "deca": {"shape", "exp", "pose", "cam", "tform"},
}
"""Arrays that only this model's ``params.npz`` holds."""


class WindowConditions:
    """The conditions of one window of one clip; what is asked for is read or drawn then.

    Args:
        clips: The release.
        clip: The clip's place in it.
        indices: The window's frames.
        source: ``render`` or ``film``.
        view: What is seen of them.

    Attributes:
        geometry: The face in those frames; None where it is not to be drawn.
    """

    def __init__(
        self,
        clips: ReleaseClips,
        clip: int,
        indices: Sequence[int],
        *,
        source: Literal["render", "film"],
        view: View,
    ) -> None:
        self._clips = clips
        self._clip = clip
        self._indices = indices
        self._view = view
        self._model: GeometryModel | None = None
        self._landmarks: NDArray[np.float32] | None = None
        self.geometry: FaceGeometry | None = None
        if source == "render":
            arrays = clips.arrays(clip)
            if _LANDMARKS in arrays:
                self._landmarks = arrays[_LANDMARKS][list(indices)]
            self._model = _model(arrays, clips, clip)
            if self._model:
                self.geometry = FaceGeometry.from_arrays(arrays).at(indices)

    def shading(self, light: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
        """Shading renders, uint8 (n, S, S, 3).

        Args:
            light: (n, 9, 3), in place of the fitted one; only where there is a `geometry`.
        """
        if self._model is None or self.geometry is None:
            return self._film("mesh")
        meshes = map(self._view.mesh, self._model.meshes(self.geometry))
        lights = self.geometry.light if light is None else light
        size = self._view.size
        pictures = np.empty((len(lights), size, size, 3), np.uint8)
        for slot, picture in enumerate(PROCESSOR.pictures(meshes, lights, (size, size))):
            pictures[slot] = picture
        return pictures

    def surfaces(self, size: int) -> list[Surface]:
        """What is seen of the face in each frame, at ``size`` pixels; where there is a geometry."""
        assert self._model is not None
        assert self.geometry is not None
        meshes = map(self._view.mesh, self._model.meshes(self.geometry))
        return list(PROCESSOR.surfaces(meshes, (size, size)))

    def keypoints(self, *, mirrored: bool = False) -> NDArray[np.uint8]:
        """Keypoint maps, uint8 (n, S, S, 3).

        Args:
            mirrored: Those of the mirrored pictures: what was the left eye is the right one, and
                has its colours.
        """
        if self._landmarks is None:
            maps = self._film("kpmap")
            return swapped_colours(maps[:, :, ::-1]) if mirrored else maps
        points = self._view.points(self._landmarks)
        if mirrored:
            points = mirrored_points(points, self._view.side)
        return np.stack([draw_keypoints(each, self._view.size) for each in points])

    def _film(self, name: str) -> NDArray[np.uint8]:
        return self._view.pictures(self._clips.film(self._clip, name, self._indices))


def mirrored_points(points: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Landmarks of the mirrored picture.

    Args:
        points: (..., 478, 2), x and y as pixel indices over ``side``.
        side: Of the picture, in pixels.
    """
    other = points[..., MIRRORED, :]
    other[..., 0] = np.float32((side - 1) / side) - other[..., 0]
    return other


def swapped_colours(maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keypoint maps in the colours of the other side, as far as a film's colours can be told.

    A pixel counts as of the stroke whose hue is nearest, and keeps its brightness relative to it:
    lines that the film has blurred stay blurred.
    """
    palette, other = _palette()
    lit = maps.any(axis=-1)
    pixels = maps[lit].astype(np.float32)
    direction = palette / np.linalg.norm(palette, axis=1, keepdims=True)
    nearest = (pixels @ direction.T).argmax(axis=1)
    share = np.linalg.norm(pixels, axis=1) / np.linalg.norm(palette[nearest], axis=1)
    result = np.zeros(maps.shape, np.uint8)
    result[lit] = np.rint(other[nearest] * share[:, None]).clip(0, 255)
    return result


@cache
def _palette() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours of all strokes and squares, and those of their mirror images."""
    sides = {"left": "right", "right": "left"}
    colours = {stroke.part: stroke.colour for stroke in STROKES}
    pairs = [
        (colour, colours[" ".join(sides.get(word, word) for word in part.split())])
        for part, colour in colours.items()
    ]
    pairs += [(colour, SQUARES[int(MIRRORED[point])]) for point, colour in SQUARES.items()]
    palette, other = np.array(pairs, np.float32).swapaxes(0, 1)
    return palette, other


def _model(
    arrays: Mapping[str, NDArray[Any]], clips: ReleaseClips, clip: int
) -> GeometryModel | None:
    """The model that made a clip's parameters; None where it cannot be had."""
    facts = clips.facts(clip, "geometry")
    name = facts.get("model") or next(
        (name for name, own in _NAMES.items() if own <= arrays.keys()), None
    )
    if name not in _NAMES:
        return None
    return _loaded(name, facts.get("region", "face") if name == "deca" else None)


@cache
def _loaded(name: str, region: str | None) -> GeometryModel | None:
    try:
        options: dict[str, Any] = {}
        if region is not None:
            import torch  # DECA's own package needs it; loaders are processes without a GPU

            options = {"region": region, "device": torch.device("cpu")}
        model: GeometryModel = GEOMETRY_MODELS[name].load()(**options)
    except (UsageError, WeightsError) as error:
        _LOG.warning("shading is read from the films: %s", error.message)
        return None
    return model
