"""Which of FLAME's triangles are rendered."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from infra.errors import WeightsError

Region = Literal["face", "lcvd", "head"]
"""`face`: triangles all of whose vertices are in FLAME's own mask of the face; `lcvd`: LCVD's
list of triangles; `head`: all."""

REGION_WEIGHTS: dict[Region, tuple[str, ...]] = {
    "face": ("flame_masks",),
    "lcvd": ("lcvd_face_region",),
    "head": (),
}
"""Names of the weights that tell a region."""

_KEY = "face"


def region_faces(
    faces: NDArray[Any], region: Region, load: Callable[[str], Mapping[str, Any]]
) -> NDArray[np.int32]:
    """The triangles of a region.

    Args:
        faces: All of FLAME's, (F, 3).
        region: Which.
        load: Gives the arrays of a weight by its name.

    Returns:
        int32 (n, 3), in FLAME's order for `face`, in its own for `lcvd`.

    Raises:
        WeightsError: A weight is not what it should be.
    """
    every = np.ascontiguousarray(faces, np.int32)
    if region == "head":
        return every
    (weight,) = REGION_WEIGHTS[region]
    if region == "lcvd":
        return every[_indices(load, weight, len(every))]
    vertices = int(every.max()) + 1
    inside = np.zeros(vertices, bool)
    inside[_indices(load, weight, vertices)] = True
    return every[inside[every].all(axis=1)]


def _indices(
    load: Callable[[str], Mapping[str, Any]], weight: str, limit: int
) -> NDArray[np.int64]:
    """The face's indices in a file of regions; all below a limit."""
    regions = load(weight)
    if _KEY not in regions:
        raise WeightsError(
            f"{weight} knows no region {_KEY!r}, only {', '.join(sorted(regions))}",
            hint="see `limelight weights list` for the file that is meant",
        )
    indices = np.asarray(regions[_KEY]).astype(np.int64).ravel()
    if len(indices) == 0 or not 0 <= indices.min() <= indices.max() < limit:
        raise WeightsError(
            f"{weight} is of another mesh: its region {_KEY!r} must index 0 to {limit - 1}",
            hint="see `limelight weights list` for the file that is meant",
        )
    return indices
