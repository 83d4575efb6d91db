"""How fast the chain could be on one core: its decoder, its models and its encoders, and no more.

Each is called as the stages call it, on inputs made ready beforehand: the source is decoded to
RGB once, the nets and the light's fit see every frame once, the mesh is rendered once, and the
four films are encoded once from RGB or grey. Left out is all the rest: a second conversion,
cropping and resizing, tracking, smoothing in time, drawing, digests, commits, shards, the
catalog, and the engine.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np

from stages.clip import Clip
from stages.encode import GreyWriter, VideoWriter
from stages.frame import Frame
from stages.frames import SourceFrames
from stages.geometry import MeshTable
from stages.kpmap import draw_keypoints
from stages.landmarks import Landmarks
from stages.models.faces import MediapipeFaces
from stages.models.light import fit_light, grey_light, sample_skin, skin_triangles
from stages.models.mesh_geometry import posed_mesh
from stages.models.raster.renderer import PROCESSOR
from stages.models.selfie import SelfieSegmentation
from stages.models.topology import face_mesh_triangles
from stages.portrait import DRAWING_GOP, portrait_landmarks
from stages.probe import Probe

REDETECT = Landmarks.Config().redetect
FPS = Fraction(25)
_HALF = np.array([0.5, 0.5, 0], np.float32)


class Ceiling:
    """Measures clips; ``seconds`` holds what each part took, ``frames`` how many there were.

    Args:
        folder: For scratch files.
    """

    def __init__(self, folder: Path) -> None:
        cv2.setNumThreads(1)
        self.seconds: Counter[str] = Counter()
        self.frames = 0
        self._folder = folder
        self._faces = MediapipeFaces()
        self._selfie = SelfieSegmentation()
        self._triangles = face_mesh_triangles()
        self._skin = skin_triangles(self._triangles)

    def measure(self, path: Path) -> None:
        """Measure a clip that comes through the landmarks and frame stages."""
        clip = self._prepared(path)
        self.frames += len(clip.source)
        with self._timed("decode"):
            for _ in SourceFrames(path, budget=0):
                pass
        self._measure_faces(clip)
        portrait = list(clip.portrait)
        self._measure_matting(portrait)
        self._measure_geometry(clip, portrait)
        self._encode("video", portrait)
        size = clip.portrait.size
        points = portrait_landmarks(clip) / np.float32(size)
        self._encode("kpmap", (draw_keypoints(each, size) for each in points), drawing=True)

    def _prepared(self, path: Path) -> Clip:
        """The clip, with what the models are to be shown; not timed."""
        files: dict[str, dict[str, Path]] = {}
        clip = Clip("ceiling", path, self._folder, load=lambda stage, name: files[stage][name])
        for kind in (Probe, Landmarks, Frame):
            stage: Any = kind(kind.Config())
            stage.setup()
            product = stage.process(clip)
            clip.facts[stage.name], files[stage.name] = product.facts, product.files
        return clip

    def _measure_faces(self, clip: Clip) -> None:
        frames = list(clip.source)
        (face, *_) = self._faces.detect(frames[0])
        region = face.roi()
        with self._timed("faces"):
            for index, frame in enumerate(frames):
                if index % REDETECT == 0:
                    self._faces.detect(frame)
                mesh = self._faces.mesh(frame, region)
                self._faces.refine(frame, mesh.points)
                region = mesh.roi()

    def _measure_matting(self, portrait: list[np.ndarray]) -> None:
        side = (self._selfie.size, self._selfie.size)
        small = [cv2.resize(frame, side, interpolation=cv2.INTER_AREA) for frame in portrait]
        with self._timed("matting"):
            alphas = [self._selfie(frame) for frame in small]
        masks = [
            cv2.resize(alpha * 255, portrait[0].shape[:2]).astype(np.uint8) for alpha in alphas
        ]
        path, size = self._folder / "mask.mp4", masks[0].shape[::-1]
        with (
            self._timed("encode mask"),
            GreyWriter(path, size=size, fps=FPS, preset="superfast") as film,
        ):
            for mask in masks:
                film.write(mask)

    def _measure_geometry(self, clip: Clip, portrait: list[np.ndarray]) -> None:
        vertices = portrait_landmarks(clip)[:, : self._triangles.max() + 1] + _HALF
        with self._timed("light"):
            samples = sample_skin(portrait, vertices, self._triangles, self._skin)
            window = MeshTable().light_window * float(clip.portrait.fps)
            light = grey_light(fit_light(samples, window=window, ridge=0.02).light)
        side = clip.portrait.size
        with self._timed("shading"):
            meshes = (posed_mesh(mesh, self._triangles, side) for mesh in vertices)
            pictures = list(PROCESSOR.pictures(meshes, light, (side, side)))
        self._encode("mesh", pictures, drawing=True)

    def _encode(self, name: str, pictures: Iterable[np.ndarray], *, drawing: bool = False) -> None:
        ready = list(pictures)
        kind: dict[str, Any] = {"gop": DRAWING_GOP, "drawing": True} if drawing else {}
        size = ready[0].shape[1::-1]
        path = self._folder / f"{name}.mp4"
        with self._timed(f"encode {name}"), VideoWriter(path, size=size, fps=FPS, **kind) as film:
            for picture in ready:
                film.write(picture)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        # Processor time: others on the machine must not lower the ceiling.
        began = process_time()
        yield
        self.seconds[part] += process_time() - began


def measure_ceiling(folder: Path, paths: list[Path], begin: Callable[[], Any]) -> dict[str, float]:
    """Processor milliseconds a frame of each part, while other cores do the same.

    Args:
        folder: For scratch files; one's own.
        paths: Clips; the first one warms up, too.
        begin: Waits until all are ready.
    """
    folder.mkdir()
    Ceiling(folder).measure(min(paths, key=lambda path: path.stat().st_size))
    ceiling = Ceiling(folder)
    begin()
    for path in paths:
        ceiling.measure(path)
    return {part: 1e3 * each / ceiling.frames for part, each in ceiling.seconds.items()}
