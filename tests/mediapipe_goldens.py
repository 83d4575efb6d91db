"""The pictures behind MediaPipe's goldens, made again, and what MediaPipe said of them."""

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from skimage.data import astronaut

from infra.weights import weight_path

NAMES = [
    "astronaut",
    "astronaut_edge",
    *(f"carphone_{frame:03d}{scale}" for frame in (0, 30, 60, 90) for scale in ("", "_x3")),
]


@dataclass(frozen=True)
class Goldens:
    """What ``shared/golden/perception`` holds of MediaPipe."""

    folder: Path

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "facemesh.npz") as archive:
            return {name: archive[name] for name in archive.files}

    @cached_property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / "facemesh.json").read_text())

    @cached_property
    def carphone(self) -> list[np.ndarray]:
        with av.open(str(weight_path("clip_carphone_pristine"))) as film:
            return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]

    def picture(self, name: str) -> np.ndarray:
        picture = self._picture(name)
        assert sha256(picture.tobytes()).hexdigest() == self.facts["images"][name]["sha256"]
        return picture

    def _picture(self, name: str) -> np.ndarray:
        if name == "astronaut":
            return astronaut()
        if name == "astronaut_edge":
            return np.ascontiguousarray(astronaut()[70:230, 170:290])
        _, frame, *scale = name.split("_")
        picture = self.carphone[int(frame)]
        if not scale:
            return picture
        return cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)

    def pixels(self, name: str, array: str) -> np.ndarray:
        """Points in pixels: x and z are stored in units of the width, y in heights."""
        height, width = self.picture(name).shape[:2]
        return self.arrays[f"{name}_{array}"] * (width, height, width)

    def mask(self, name: str) -> np.ndarray:
        return cv2.imread(str(self.folder / f"selfie_{name}.png"), cv2.IMREAD_GRAYSCALE)
