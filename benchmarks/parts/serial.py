"""A dataset build that works as LCVD's ``make_dataset.py`` does, with our embedded models.

One clip after the other, one frame at a time, and a folder of PNG files between any two steps:
frames are extracted into it, read back and squashed to 512 x 512; each is searched for its face
anew, once for the keypoint map and once for the shading; then each of the four streams goes into
it again, and out of it into x264 with FFmpeg's defaults (medium, crf 23, 20 frames/s, as many
threads as there are cores). PNGs are those of FFmpeg where FFmpeg wrote them, and Pillow's
where Python did.
"""

from collections.abc import Iterable
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from stages.kpmap import draw_keypoints
from stages.models.faces import MediapipeFaces
from stages.models.light import fit_light, grey_light, sample_skin, skin_triangles
from stages.models.mesh_geometry import posed_mesh
from stages.models.raster.renderer import PROCESSOR
from stages.models.selfie import SelfieSegmentation
from stages.models.topology import face_mesh_triangles

SIZE = (512, 512)
_HALF = np.array([0.5, 0.5, 0], np.float32)


class SerialJob:
    """The job: models are loaded once; a call builds a clip.

    Args:
        folder: For the PNG files, and the four videos.
    """

    def __init__(self, folder: Path) -> None:
        self._pngs = folder / "target"
        self._videos = folder
        self._pngs.mkdir()
        self._faces = MediapipeFaces()
        self._selfie = SelfieSegmentation()
        self._triangles = face_mesh_triangles()
        self._skin = skin_triangles(self._triangles)

    def __call__(self, path: Path, frames: int) -> int:
        """Build the first ``frames`` frames of a clip; returns how many there were."""
        self._extract(path, frames)
        pictures = [self._load(png) for png in sorted(self._pngs.iterdir())]
        streams = {
            "video": pictures,
            "kpmap": [self._kpmap(picture) for picture in pictures],
            "mask": [self._mask(picture) for picture in pictures],
            "mesh": [self._shading(picture) for picture in pictures],
        }
        for name, stream in streams.items():
            self._encode(name, stream)
        return len(pictures)

    def _extract(self, path: Path, frames: int) -> None:
        self._clear()
        with av.open(str(path)) as film:
            for index, frame in enumerate(islice(film.decode(video=0), frames)):
                self._write_png(index, frame.reformat(format="rgb24"))

    def _write_png(self, index: int, frame: av.VideoFrame) -> None:
        """As FFmpeg writes one."""
        with av.open(str(self._pngs / f"{index:05d}.png"), "w", format="image2pipe") as output:
            stream = output.add_stream("png", rate=25)
            stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "rgb24"
            frame.pts = None
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))

    @staticmethod
    def _load(png: Path) -> np.ndarray:
        with Image.open(png) as image:
            return np.array(image.resize(SIZE))

    def _landmarks(self, picture: np.ndarray) -> np.ndarray:
        """Landmarks (478, 3) of the first face, found without knowing of other frames."""
        face, *_ = self._faces.detect(picture)
        return self._faces.refine(picture, self._faces.mesh(picture, face.roi()).points)

    def _kpmap(self, picture: np.ndarray) -> np.ndarray:
        return draw_keypoints(self._landmarks(picture) / SIZE[0])

    def _mask(self, picture: np.ndarray) -> np.ndarray:
        hard = np.where(self._selfie(picture) > 0.5, 255.0, 0.0)
        large = cv2.resize(np.repeat(hard[..., None], 3, axis=2), SIZE)
        return cv2.dilate(large, np.ones((7, 7))).astype(np.uint8)

    def _shading(self, picture: np.ndarray) -> np.ndarray:
        points = self._landmarks(picture).astype(np.float32)
        vertices = points[None, : self._triangles.max() + 1] + _HALF
        samples = sample_skin([picture], vertices, self._triangles, self._skin)
        light = grey_light(fit_light(samples, window=0, ridge=0.02).light)
        mesh = posed_mesh(vertices[0], self._triangles, SIZE[0])
        return next(PROCESSOR.pictures([mesh], light, SIZE))

    def _encode(self, name: str, stream: Iterable[np.ndarray]) -> None:
        """Write a stream's PNG files, then have them encoded."""
        self._clear()
        for index, picture in enumerate(stream):
            Image.fromarray(picture).save(self._pngs / f"{index:05d}.png")
        with av.open(str(self._videos / f"{name}.mp4"), "w") as output:
            encoder = output.add_stream("libx264", rate=20, options={"preset": "medium"})
            encoder.width, encoder.height = SIZE
            encoder.pix_fmt = "yuv420p"
            for index, png in enumerate(sorted(self._pngs.iterdir())):
                with av.open(str(png)) as image:
                    frame = next(image.decode(video=0))
                frame.pts, frame.time_base = index, Fraction(1, 20)
                output.mux(encoder.encode(frame))
            output.mux(encoder.encode(None))

    def _clear(self) -> None:
        for png in self._pngs.iterdir():
            png.unlink()
