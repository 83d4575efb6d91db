"""The 68 points of the iBUG scheme (300-W, Sagonas et al. 2013) among MediaPipe's landmarks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# The customary correspondence, in iBUG's order: from the picture's left to its right, and around
# the eyes and the mouth clockwise. Mirrored points have mirrored landmarks.
# fmt: off
IBUG_68 = (
    127, 234, 93, 132, 58, 136, 150, 176,      # jaw, from the ear
    152,                                       # chin
    400, 379, 365, 288, 361, 323, 454, 356,    # jaw, to the other ear
    70, 63, 105, 66, 107,                      # brows
    336, 296, 334, 293, 300,
    168, 197, 5, 4,                            # nose: bridge and tip
    98, 97, 2, 326, 327,                       # nostrils
    33, 160, 158, 133, 153, 144,               # eyes
    362, 385, 387, 263, 373, 380,
    61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91,  # lips, outside
    78, 81, 13, 311, 308, 402, 14, 178,                  # lips, inside
)
# fmt: on
"""Landmark of each of the 68 points."""


def ibug_points(landmarks: NDArray[Any]) -> NDArray[np.float32]:
    """The 68 points (..., 68, 2) of landmarks (..., 478, 3)."""
    return landmarks[..., IBUG_68, :2].astype(np.float32)
