"""MediaPipe's selfie segmentation: how much each pixel belongs to a person."""

from collections.abc import Iterable, Iterator

import numpy as np

from stages.models.litert import LiteNet
from stages.models.roi import Roi


class SelfieSegmentation:
    """The segmentation net.

    Attributes:
        size: Side of the square at which it looks at a picture, whatever its shape.
    """

    weights = ("selfie_segmentation",)

    def __init__(self) -> None:
        self._net = LiteNet(*self.weights)
        self.size = self._net.size

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Alpha of the persons in a picture.

        Args:
            picture: (H, W, 3) uint8 RGB.

        Returns:
            (256, 256) float32 in 0..1, over the whole picture.
        """
        if picture.shape[:2] == (self.size, self.size):
            shown = picture * np.float32(1 / 255)  # the crop below, bit by bit, a tenth of its time
        else:
            whole = Roi.whole(picture, square=False)
            shown = whole.crop(picture, self.size, low=0, high=1, pad=True)
        (alpha,) = self._net(shown).values()
        return alpha[:, :, 0]

    def mattes(self, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Alphas, as above, of pictures that follow each other in time, one by one."""
        return map(self, pictures)
