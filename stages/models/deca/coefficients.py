"""The 236 numbers in which DECA tells a face, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stages.models.face_geometry import FaceGeometry, light_of_frames

SPLIT = {"shape": 100, "tex": 50, "exp": 50, "pose": 6, "cam": 3, "light": 27}
"""Numbers of each part, in the order of DECA's code vector."""

CODE = sum(SPLIT.values())
"""Length of the code vector: 236."""


@dataclass(frozen=True)
class Coefficients:
    """A face over T frames; all arrays are float32 with first axis T.

    Attributes:
        shape: (T, 100), FLAME's identity.
        tex: (T, 50), albedo of the texture model; kept, not used.
        exp: (T, 50), FLAME's expression.
        pose: (T, 6), axis-angle in radians: the head's rotation, then the jaw's.
        cam: (T, 3), weak-perspective camera over the crop: scale, then x and y.
        light: (T, 9, 3), spherical-harmonic coefficients by RGB.
        tform: (T, 3, 3), from pixels of the picture to those of the 224-pixel crop (column
            vectors, as in ``tform @ [x, y, 1]``).
    """

    shape: NDArray[np.float32]
    tex: NDArray[np.float32]
    exp: NDArray[np.float32]
    pose: NDArray[np.float32]
    cam: NDArray[np.float32]
    light: NDArray[np.float32]
    tform: NDArray[np.float32]

    def __post_init__(self) -> None:
        frames = len(self.shape)
        sizes: dict[str, tuple[int, ...]] = {name: (n,) for name, n in SPLIT.items()}
        sizes |= {"light": (9, 3), "tform": (3, 3)}
        for name, size in sizes.items():
            found = getattr(self, name).shape
            if found != (frames, *size):
                raise ValueError(f"{name} must have shape {(frames, *size)}, not {found}")

    @classmethod
    def from_code(cls, code: NDArray[Any], tform: NDArray[Any]) -> Self:
        """Split code vectors (T, 236) of crops that `tform` (T, 3, 3) cut out."""
        ends = np.cumsum(list(SPLIT.values()))[:-1]
        parts = dict(zip(SPLIT, np.split(code.astype(np.float32), ends, axis=1), strict=True))
        parts["light"] = parts["light"].reshape(-1, 9, 3)
        return cls(**parts, tform=tform.astype(np.float32))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Of arrays by name, such as those of ``params.npz``; others are left aside."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def code(self) -> NDArray[np.float32]:
        """The code vectors, float32 (T, 236)."""
        parts = [getattr(self, name).reshape(len(self), -1) for name in SPLIT]
        return np.concatenate(parts, axis=1)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """All arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def under(self, light: NDArray[Any]) -> Self:
        """The same face under another light: (9, 3), or (T, 9, 3) for each frame.

        Raises:
            ValueError: The light has another shape.
        """
        return replace(self, light=light_of_frames(light, len(self)))

    def geometry(self, size: int, **more: NDArray[Any]) -> FaceGeometry:
        """These numbers as the geometry model `stages.models.deca.model.Deca` takes them.

        Args:
            size: Side in pixels of the square pictures that `tform` cuts from.
            more: Further parameters to keep.
        """
        parameters = {name: each for name, each in self.arrays().items() if name != "light"}
        return FaceGeometry(self.light, {**parameters, **more}, size)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.shape)

    def __getitem__(self, frames: slice | NDArray[Any]) -> Self:
        """The same of some frames only."""
        return replace(self, **{name: each[frames] for name, each in self.arrays().items()})
