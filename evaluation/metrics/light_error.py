"""LE: how far the light on a method's film is from the light that was wanted.

The paper names DECA's light codes and gives no formula, so here is ours. Let ``e`` be the
estimate on a frame and ``t`` the target, both as vectors of coefficients in DECA's basis: 27 of
them in RGB, 9 in luminance (BT.709).

- *plain*: the Euclidean distance ``|e - t|``, without any normalisation.
- *scale-free*: ``min over s >= 0 of |s e - t| / |t|``, which is the sine of the angle between the
  two, and 1 beyond a right angle. How bright a picture is, which a method and a camera may choose
  as they like, has no part in it.

What the target is depends on how the light was given. Where it was given as a picture, it is the
same estimator's answer to that picture: what the estimator cannot see or sees wrongly (the
light from behind, the skin's own brightness) is then alike on both sides, as it is in the paper's
protocol. Otherwise it is the coefficients themselves. In animation nobody gives a light: it
is to be the portrait's own, estimated in the same way.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.base import CaseFeatures, ClipMetric, Extractor, MetricInfo, Role
from evaluation.metrics.faces import Faces, faces_of
from evaluation.metrics.lights import LIGHTS, LightName
from evaluation.metrics.origins import identities
from stages.models.light import LUMINANCE

Colours = Literal["rgb", "luminance"]

_KEYS: dict[Colours, str] = {"rgb": "light", "luminance": "luminance"}  # of features


class LightError(ClipMetric):
    """LE in one of its four forms.

    Args:
        light: Name of the light's estimator.
        colours: Whether colour counts, or luminance alone.
        scale_free: Whether brightness is left out.
    """

    def __init__(
        self, light: LightName, *, colours: Colours = "rgb", scale_free: bool = False
    ) -> None:
        self._faces = Faces(light)
        self._colours: Colours = colours
        self._scale_free = scale_free

    @property
    def info(self) -> MetricInfo:
        """What is said of it."""
        offer = LIGHTS[self._faces.light]
        grey, free = self._colours == "luminance", self._scale_free
        numbers = "9 coefficients of the luminance" if grey else "27 coefficients in RGB"
        distance = (
            "sine of the angle between the vectors of"
            if free
            else "Euclidean distance, not normalised, of the"
        )
        return MetricInfo(
            name="light_error" + ("_luminance" if grey else "") + ("_scale_free" if free else ""),
            title="LE" + (" lum." if grey else "") + (" scale-free" if free else ""),
            higher_is_better=False,
            unit="",
            range=(0.0, 1.0 if free else float("inf")),
            estimator=offer.words,
            grade=offer.grade,
            definition=(
                f"Per frame, the {distance} {numbers} of the light (DECA's basis) estimated on"
                " the output and the light wanted: estimated in the same way on the target's"
                " picture (animation: on the portrait), or the coefficients where no picture was"
                " given. The paper gives no formula; this one is ours."
            ),
            weights=identities(self._faces.weights()),
        )

    def extractors(self) -> Mapping[Role, Extractor]:
        """Faces of the output, and of whatever shows the light that is wanted."""
        return {"output": self._faces, "target": self._faces, "reference": self._faces}

    def frames(self, case: CaseFeatures) -> NDArray[np.float64]:
        """Errors (T,); all NaN where the target's picture shows no face.

        Raises:
            ValueError: Nothing was found in a film that is needed: no other target takes its place.
        """
        found = faces_of(case, "output")[_KEYS[self._colours]]
        estimate = found.reshape(len(found), -1).astype(np.float64)
        wanted = self._target(case)
        if self._scale_free:
            return angle_sine(estimate, wanted)
        return np.asarray(np.linalg.norm(estimate - wanted, axis=1))

    def _target(self, case: CaseFeatures) -> NDArray[np.float64]:
        """The light wanted, (27,) or (9,)."""
        if case.light is None or case.has("target"):
            shown = faces_of(case, "reference" if case.light is None else "target")
            # Of the first frame, which a method is shown; NaN if it has no face.
            return shown[_KEYS[self._colours]][0].astype(np.float64).ravel()
        light = case.light.astype(np.float64)
        return light.ravel() if self._colours == "rgb" else light @ LUMINANCE


def angle_sine(estimate: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of vectors (n, k) to one (k,), whatever their lengths.

    Returns:
        (n,) in 0..1: the sine of the angle, 1 beyond a right angle and where a vector is zero;
        NaN where one is NaN.
    """
    lengths = np.linalg.norm(estimate, axis=1) * np.linalg.norm(wanted)
    cosine = np.divide(estimate @ wanted, lengths, out=np.zeros(len(lengths)), where=lengths != 0)
    return np.asarray(np.sqrt(1 - np.square(cosine.clip(0, 1))))
