"""DPR (Zhou et al. 2019): each frame by itself, its luminance alone, by the published network.

The weights are for research purposes only, and are read as they were published. The picture goes
in at 512 pixels; of its Lab colours L is replaced, a and b are kept.
"""

from collections.abc import Iterator
from math import pi, sqrt
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evaluation.methods.base import (
    FilmLike,
    Light,
    Method,
    MethodError,
    MethodOptions,
    Picture,
    Scratch,
)
from evaluation.methods.needs import lacking
from stages.models.light import LUMINANCE

if TYPE_CHECKING:
    from evaluation.methods.dpr_network import Relighter

_WEIGHT = "dpr_512"
_SIZE = 512

_S = sqrt(3) / 2
_FROM_DECA = np.zeros((9, 9))
_FROM_DECA[[0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 8], [0, 3, 2, 1, 5, 6, 7, 8, 4, 7, 8]] = [
    *(1 / pi, -1, 1, 1, -1, -1),
    *(-_S, -0.5, 1, 0.5, -_S),
]


class DprOptions(MethodOptions):
    """How strong its lights are made."""

    strength: float = Field(0.77, gt=0, le=2)
    """Coefficient of order zero of every light that the network is given. What the light of a face
    is worth depends on its skin; the network was trained with lights of about this strength."""


class Dpr(Method):
    """Relights frames one after the other."""

    name = "dpr"

    _net: "Relighter"

    def __init__(self, table: DprOptions = DprOptions()) -> None:  # noqa: B008 - frozen
        self._table = table

    def weights(self) -> tuple[str, ...]:
        """The network for 512 pixels."""
        return (_WEIGHT,)

    def options(self) -> dict[str, Any]:
        """The strength."""
        return self._table.model_dump(mode="json")

    def unavailable(self) -> str:
        """Torch or the weights are missing."""
        return lacking(("torch", "safetensors"), self.weights())

    def setup(self) -> None:
        """Load the network."""
        from evaluation.methods.dpr_network import Relighter

        self._net = Relighter()

    def close(self) -> None:
        """Let go of it."""
        del self._net

    def relight(self, driving: FilmLike, light: Light, scratch: Scratch) -> Iterator[Picture]:
        """Every frame under the light's direction and form; DPR knows no colours of light.

        Raises:
            MethodError: The light is none that brightens anything.
        """
        wanted = dpr_light(light.coefficients)
        if not wanted[0] > 0:
            raise MethodError(
                f"the light {light.name} has no brightness (its coefficient of order zero is"
                f" {wanted[0]:.3g}), so it cannot be brought to the strength that DPR knows"
            )
        wanted *= self._table.strength / wanted[0]
        for picture in driving.pictures():
            yield self.picture(picture, wanted.astype(np.float32))

    def picture(self, picture: Picture, light: NDArray[np.float32]) -> Picture:
        """One picture (S, S, 3) under a light (9,) of DPR's own frame and scale."""
        seen = cv2.resize(picture, (_SIZE, _SIZE), interpolation=cv2.INTER_LINEAR)
        lab = cv2.cvtColor(seen, cv2.COLOR_RGB2LAB).astype(np.uint8)
        new, _ = self._net(lab[..., 0].astype(np.float32) / np.float32(255), light)
        return cv2.resize(
            with_luminance(lab, new), picture.shape[1::-1], interpolation=cv2.INTER_LINEAR
        ).astype(np.uint8)


def with_luminance(lab: NDArray[np.uint8], luminance: NDArray[np.float32]) -> Picture:
    """RGB of a picture in OpenCV's 8-bit Lab with another luminance (h, w) in 0..1.

    DPR cuts luminance off at whole levels rather than rounding it.
    """
    changed = lab.copy()
    changed[..., 0] = (luminance * np.float32(255)).astype(np.uint8)
    return cv2.cvtColor(changed, cv2.COLOR_LAB2RGB).astype(np.uint8)


def dpr_light(coefficients: NDArray[np.float32]) -> NDArray[np.float64]:
    """Luminance of a light, in DPR's basis and frame, at its own strength.

    DPR's x is the picture's right, y goes into the scene, z up; its harmonics come in the order
    1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2. Turning ours there mixes the last two of order two.

    Args:
        coefficients: (9, 3), as in `stages.models.spherical_harmonics`.

    Returns:
        (9,); both make the same brightness of every surface.
    """
    grey = coefficients.astype(np.float64) @ LUMINANCE
    converted: NDArray[np.float64] = _FROM_DECA @ grey
    return converted
