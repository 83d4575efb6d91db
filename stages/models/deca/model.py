"""Face geometry by DECA: frames through the encoder, numbers through FLAME."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from stages.models.deca.camera import project, to_picture
from stages.models.deca.coefficients import CODE, Coefficients
from stages.models.deca.crop import SIDE, crop_transforms, cut_crop, head_boxes
from stages.models.deca.encoder import ResnetEncoder, ready_encoder
from stages.models.deca.flame import Flame
from stages.models.deca.keypoints import ibug_points
from stages.models.deca.regions import Region, region_faces
from stages.models.deca.steady import Identity, steady_identity, steady_light, steady_motion
from stages.models.face_geometry import FaceGeometry, FaceTrack
from stages.models.light import main_direction
from stages.models.nets import Precision, best_device, load_state, one_thread
from stages.models.raster.renderer import PosedMesh
from stages.smoothing import smooth_series


class Deca:
    """A `GeometryModel`. Its parameters are those of `Coefficients`, and ``valid``.

    With all windows 0 and each frame's own identity, what it finds in a frame is what DECA,
    and so LCVD, finds in a crop around the same landmarks. The encoder is loaded by `ready`, or
    by the first `fit`: a geometry that was kept is rendered without it.

    Args:
        region: Which triangles are rendered.
        identity: Whose shape a frame has.
        box_window: Standard deviation in seconds of the symmetric window over which the crop
            is smoothed; 0 crops each frame by itself, to whole pixels.
        motion_window: The same for expression, pose and camera.
        light_window: The same for the light.
        batch: Frames that go through the networks at once.
        precision: Of the encoder's convolutions.
        device: Where the networks run; `best_device` without.
        load: Gives the tensors of a weight by its name.

    Raises:
        WeightsError: A weight is missing, or is not what it should be.
    """

    def __init__(
        self,
        *,
        region: Region = "face",
        identity: Identity = "clip",
        box_window: float = 0.1,
        motion_window: float = 0.05,
        light_window: float = 0.4,
        batch: int = 16,
        precision: Precision = "float32",
        device: torch.device | None = None,
        load: Callable[[str], Mapping[str, torch.Tensor]] = load_state,
    ) -> None:
        self._identity = identity
        self._box_window = box_window
        self._motion_window = motion_window
        self._light_window = light_window
        self._batch = batch
        self._device = device or best_device()
        self._precision: Precision = precision
        self._load = load
        self._encoder: ResnetEncoder | None = None
        self._flame = Flame(load("flame")).to(self._device)
        self._faces = region_faces(self._flame.faces_tensor.cpu().numpy(), region, load)

    def ready(self) -> None:
        """Load the encoder, which is for `fit` alone."""
        self._loaded_encoder()

    def _loaded_encoder(self) -> ResnetEncoder:
        if self._encoder is None:
            state = self._load("deca")
            self._encoder = ready_encoder(state, device=self._device, precision=self._precision)
        return self._encoder

    def fit(self, frames: Iterable[NDArray[np.uint8]], track: FaceTrack) -> FaceGeometry:
        """Find the numbers of all frames of a clip; its frames are read once."""
        tforms = self._crops(track)
        coefficients = Coefficients.from_code(self._encode(frames, tforms), tforms)
        if self._identity == "clip":
            coefficients = steady_identity(coefficients, track.valid)
        coefficients = steady_motion(coefficients, self._motion_window * track.fps, track.valid)
        coefficients = steady_light(coefficients, self._light_window * track.fps, track.valid)
        facts = {"light_direction": main_direction(coefficients.light)}
        return replace(coefficients.geometry(track.size, valid=track.valid), facts=facts)

    def _crops(self, track: FaceTrack) -> NDArray[np.float64]:
        boxes = head_boxes(ibug_points(track.points))
        sigma = self._box_window * track.fps
        return crop_transforms(smooth_series(boxes, sigma), whole=sigma == 0)

    @torch.inference_mode()
    def _encode(
        self, frames: Iterable[NDArray[np.uint8]], tforms: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Code vectors (T, 236) of the crops of T frames."""
        encoder, dtype = self._loaded_encoder(), getattr(torch, self._precision)
        codes = [torch.empty(0, CODE, device=self._device)]
        with one_thread():
            for crops in self._batches(frames, tforms):
                pictures = torch.from_numpy(crops).permute(0, 3, 1, 2)
                codes.append(encoder(pictures.to(self._device, dtype)))
            return torch.cat(codes).cpu().numpy()

    def _batches(
        self, frames: Iterable[NDArray[np.uint8]], tforms: NDArray[np.float64]
    ) -> Iterator[NDArray[np.float32]]:
        """Crops (n, 224, 224, 3), cut as frames come."""
        crops = np.empty((self._batch, SIDE, SIDE, 3), np.float32)
        filled = 0
        for frame, tform in zip(frames, tforms, strict=True):
            cut_crop(frame, tform, crops[filled])
            filled += 1
            if filled == self._batch:
                yield crops
                filled = 0
        if filled:
            yield crops[:filled]

    def meshes(self, geometry: FaceGeometry) -> Iterator[PosedMesh]:
        """Each frame's head, where it is in the pictures that were fitted."""
        every = Coefficients.from_arrays(geometry.arrays())
        for start in range(0, len(every), self._batch):
            part = every[start : start + self._batch]
            vertices = self._vertices(part)
            picture = (geometry.size, geometry.size)
            image = to_picture(project(vertices, part.cam), part.tform, picture)
            for head, seen in zip(vertices, image, strict=True):
                yield PosedMesh(head, seen, self._faces)

    @torch.inference_mode()
    def _vertices(self, coefficients: Coefficients) -> NDArray[np.float32]:
        """Posed heads, (T, V, 3) in FLAME's frame."""
        with one_thread():
            numbers = (
                torch.from_numpy(np.ascontiguousarray(each)).to(self._device)
                for each in (coefficients.shape, coefficients.exp, coefficients.pose)
            )
            vertices, _ = self._flame(*numbers)
            return vertices.cpu().numpy()
