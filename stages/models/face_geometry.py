"""Face geometry: what a model of the face's shape and light is asked, whichever it is.

Parameters in, pictures out, in two steps. *Fit*: frames and landmarks become a `FaceGeometry`,
plain arrays, which a release keeps, so that a clip is relit without looking at its video.
*Meshes*: the geometry becomes, frame by frame, a posed mesh, which any renderer draws under any
light (`stages.models.raster.renderer`).

Light and normals live in the camera frame, right-handed, x right, y up, z towards the viewer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.models.raster.renderer import PROCESSOR, PosedMesh, Renderer

OF_THE_CLIP = frozenset({"head"})
"""Parameters that are told once for a clip, though their first axis may happen to be as long."""


@dataclass(frozen=True)
class FaceTrack:
    """A face's landmarks over a clip, in the pictures that a geometry model is shown.

    Attributes:
        points: float32 (T, 478, 3): MediaPipe's landmarks in pixels, x right, y down, the
            centre of pixel ``i`` at ``i``; z in the same unit, smaller is nearer.
        valid: bool (T,): False where they were filled in.
        fps: Frames a second; 0 for pictures that do not follow each other.
        size: Side of the pictures in pixels; one that is no square counts as the top left part
            of a square of its longer side.
    """

    points: NDArray[np.float32]
    valid: NDArray[np.bool_]
    fps: float
    size: int

    @classmethod
    def still(cls, points: NDArray[Any], size: int) -> "FaceTrack":
        """The track of one picture, of landmarks (478, 3)."""
        return cls(points[None].astype(np.float32), np.ones(1, bool), 0.0, size)


@dataclass(frozen=True)
class FaceGeometry:
    """A face's shape and the light on it, over T frames.

    Attributes:
        light: float32 (T, 9, 3): spherical-harmonic coefficients by RGB, DECA's order.
        parameters: The model's own arrays by name, such as pose and expression. Those of first
            axis T are per frame, the others hold for all frames.
        size: Side of the square pictures that were fitted, in pixels.
        facts: What a person may want to know of the fit, in JSON types.
    """

    light: NDArray[np.float32]
    parameters: Mapping[str, NDArray[Any]]
    size: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.light)

    def under(self, light: NDArray[Any]) -> "FaceGeometry":
        """The same face under another light: (9, 3), or (T, 9, 3) for each frame.

        Raises:
            ValueError: The light has another shape.
        """
        return replace(self, light=light_of_frames(light, len(self)))

    def at(self, frames: Sequence[int]) -> "FaceGeometry":
        """The same of some frames only, in the order given."""
        chosen = list(frames)
        parameters = {
            name: each if name in OF_THE_CLIP or each.shape[:1] != (len(self),) else each[chosen]
            for name, each in self.parameters.items()
        }
        return replace(self, light=self.light[chosen], parameters=parameters)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, light and size among them: what ``params.npz`` holds."""
        return {**self.parameters, "light": self.light, "size": np.array(self.size, np.int32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "FaceGeometry":
        """Of the arrays that ``params.npz`` holds."""
        own = {name: each for name, each in arrays.items() if name not in ("light", "size")}
        return cls(arrays["light"], own, int(arrays["size"]))


def light_of_frames(light: NDArray[Any], frames: int) -> NDArray[np.float32]:
    """The light on each frame, (T, 9, 3), of one for all, (9, 3), or of just that.

    Raises:
        ValueError: The light has another shape.
    """
    wanted = (frames, 9, 3)
    if light.shape not in ((9, 3), wanted):
        raise ValueError(f"light must have shape (9, 3) or {wanted}, not {light.shape}")
    return np.broadcast_to(light, wanted).astype(np.float32)


class GeometryModel(Protocol):
    """Finds shape and light, and says where the shape is."""

    def ready(self) -> None:
        """Load what only `fit` takes, which loads it otherwise.

        Who wants to fit learns so at once whether it is there; who has kept a geometry needs
        none of it.

        Raises:
            WeightsError: A weight is missing, or is not what it should be.
        """

    def fit(self, frames: Iterable[NDArray[np.uint8]], track: FaceTrack) -> FaceGeometry:
        """Fit all frames of a clip.

        Args:
            frames: T pictures, uint8 RGB (H, W, 3), all of one size; drawn once, in order.
            track: The face's landmarks in them.
        """

    def meshes(self, geometry: FaceGeometry) -> Iterator[PosedMesh]:
        """Each frame's shape, where it is in the pictures that were fitted.

        Args:
            geometry: This model's, of pictures that were square.
        """


def shading_pictures(
    model: GeometryModel, geometry: FaceGeometry, size: int, renderer: Renderer = PROCESSOR
) -> Iterator[NDArray[np.uint8]]:
    """LCVD's shading picture of every frame, uint8 RGB (size, size, 3).

    Args:
        model: Made the geometry.
        geometry: The face and the light on it.
        size: Side of the pictures; the one that was fitted, or any other.
        renderer: Draws.
    """
    return renderer.pictures(model.meshes(geometry), geometry.light, (size, size))
