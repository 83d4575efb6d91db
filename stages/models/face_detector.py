"""MediaPipe's short-range face detector (BlazeFace): boxes and six keypoints."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from stages.models.litert import LiteNet
from stages.models.roi import Roi, line_angle

_ROI_SCALE = 1.5
_MAX_OVERLAP = 0.3


@dataclass(frozen=True)
class Face:
    """A face that the detector saw.

    Attributes:
        score: 0..1.
        box: Left, top, right, bottom in pixels, from brow to chin; may leave the picture.
        keypoints: (6, 2) in pixels: image-left eye, image-right eye, nose tip, mouth,
            image-left ear, image-right ear.
    """

    score: float
    box: np.ndarray
    keypoints: np.ndarray

    @property
    def size(self) -> float:
        """Longer side of the box, pixels."""
        return float((self.box[2:] - self.box[:2]).max())

    @property
    def centre(self) -> np.ndarray:
        """(2,) pixels."""
        return (self.box[:2] + self.box[2:]) / 2

    def holds(self, point: np.ndarray) -> bool:
        """Whether a point (2,) lies in the box."""
        return bool((self.box[:2] <= point).all() and (point <= self.box[2:]).all())

    def roi(self) -> Roi:
        """Region for the face mesh: turned upright by the eyes, half as large again."""
        angle = line_angle(self.keypoints[0], self.keypoints[1])
        return Roi.around(self.box.reshape(2, 2), scale=_ROI_SCALE, angle=angle)


class FaceDetector:
    """Finds faces that fill more than about a sixth of the region looked at.

    Args:
        min_score: Score from which a face counts, 0..1.
        net: Another copy of the net, such as a bundle's; by default the registry's.
    """

    weights = ("face_detection_short_range",)

    def __init__(self, min_score: float = 0.5, net: LiteNet | None = None) -> None:
        self.min_score = min_score
        self._net = net or LiteNet(*self.weights)

    def __call__(self, picture: np.ndarray, region: Roi | None = None) -> list[Face]:
        """Faces in a picture, the best score first.

        Args:
            picture: (H, W, 3) uint8 RGB.
            region: Where to look, upright and square; by default everywhere.
        """
        region = region or Roi.whole(picture, square=True)
        outputs = self._net(region.crop(picture, self._net.size, low=-1, high=1, pad=True))
        logits = outputs["classificators"][:, 0].astype(np.float64)
        scores = 1 / (1 + np.exp(-np.clip(logits, -100, 100)))
        kept = np.flatnonzero(scores >= self.min_score)
        raw = outputs["regressors"][kept].astype(np.float64).reshape(-1, 8, 2) / self._net.size
        centres = raw[:, 0] + _anchors()[kept]
        points = raw[:, 2:] + _anchors()[kept, None]
        corners = np.stack([centres - raw[:, 1] / 2, centres + raw[:, 1] / 2], axis=1)
        shapes = np.concatenate([corners, points], axis=1)
        matrix = region.matrix()
        return [
            Face(score, placed[:2].reshape(4), placed[2:])
            for score, shape in merge_overlapping(scores[kept], shapes)
            for placed in [shape @ matrix[:, :2].T + matrix[:, 2]]
        ]


def merge_overlapping(scores: np.ndarray, shapes: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Weighted non-maximum suppression.

    Shapes that overlap the best one by more than 0.3 (intersection over union) melt into
    their score-weighted mean, which keeps the best one's score; then the same with the rest.

    Args:
        scores: (n,) positive.
        shapes: (n, k, 2): top-left and bottom-right corner, then any further points.

    Returns:
        Pairs of score and shape (k, 2), the best first.
    """
    order = np.argsort(-scores, kind="stable")
    scores, shapes = scores[order], shapes[order]
    merged = []
    while len(scores):
        same = overlap(shapes[0, :2], shapes[:, :2]) > _MAX_OVERLAP
        same[0] = True
        merged.append((float(scores[0]), np.average(shapes[same], axis=0, weights=scores[same])))
        scores, shapes = scores[~same], shapes[~same]
    return merged


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of ``box`` (2, 2) with each of ``boxes`` (n, 2, 2): (n,)."""
    low, high = np.maximum(box[0], boxes[:, 0]), np.minimum(box[1], boxes[:, 1])
    common = np.maximum(high - low, 0).prod(axis=1)
    union = (box[1] - box[0]).prod() + (boxes[:, 1] - boxes[:, 0]).prod(axis=1) - common
    return common / np.maximum(union, 1e-12)


@cache
def _anchors() -> np.ndarray:
    """Centres of the 896 anchors, (896, 2) in 0..1: 16x16 cells twice, then 8x8 six times."""
    layers = []
    for cells, times in ((16, 2), (8, 6)):
        y, x = np.divmod(np.arange(cells * cells), cells)
        layers.append(np.repeat(np.column_stack([x, y]) / cells + 0.5 / cells, times, axis=0))
    return np.concatenate(layers)
