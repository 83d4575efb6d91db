"""The light on a face by DECA's network (Feng et al. 2021)."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.metrics.lights import Lights
from stages.models.deca.coefficients import Coefficients
from stages.models.deca.crop import crop_transforms, cut_crop, head_boxes
from stages.models.deca.encoder import ready_encoder
from stages.models.deca.keypoints import ibug_points
from stages.models.light import LUMINANCE
from stages.models.nets import best_device, load_state, one_thread


class DecaLight:
    """The 27 numbers of light in DECA's code, each frame's from a crop of its own.

    Args:
        load: Gives the tensors of a weight by its name.

    Raises:
        WeightsError: The encoder's weights are missing, or are others.
    """

    def __init__(self, load: Callable[[str], Mapping[str, torch.Tensor]] = load_state) -> None:
        self._device = best_device()
        self._encoder = ready_encoder(load("deca"), device=self._device)

    @torch.inference_mode()
    def __call__(self, frames: list[NDArray[np.uint8]], points: NDArray[np.float32]) -> Lights:
        """See `evaluation.metrics.lights.LightEstimator`."""
        tforms = crop_transforms(head_boxes(ibug_points(points)), whole=True)
        crops = [cut_crop(frame, tform) for frame, tform in zip(frames, tforms, strict=True)]
        with one_thread():
            pictures = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
            code = self._encoder(pictures.to(self._device)).cpu().numpy()
        light = Coefficients.from_code(code, tforms).light
        return Lights(light, (light @ LUMINANCE).astype(np.float32))
