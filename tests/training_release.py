"""A small release to train on: a dome of a face in every clip, lit, drawn and masked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.release import Release
from stages.encode import GreyWriter, VideoWriter
from stages.kpmap import draw_keypoints
from stages.models import mesh_geometry
from stages.models.face_geometry import FaceGeometry, shading_pictures
from stages.models.mesh_geometry import MeshGeometry
from tests.releases import make_release, sample
from training.recipe import Recipe
from training.samples import conditions

SIDE = 96
COLUMNS, ROWS = 18, 26  # 468 vertices, as many as the face mesh has
FPS = Fraction(25)


def dome_faces() -> np.ndarray:
    """Triangles (F, 3) of a sheet of 468 vertices."""
    index = np.arange(COLUMNS * ROWS).reshape(ROWS, COLUMNS)
    a, b, c, d = (
        corner.ravel()
        for corner in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:])
    )
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    return faces.astype(np.int32)


def dome_landmarks(frames: int, side: int = SIDE) -> np.ndarray:
    """Landmarks (frames, 478, 3) in pixels: a curved sheet that drifts to the right."""
    u, v = np.meshgrid(np.linspace(-0.5, 0.5, COLUMNS), np.linspace(-0.6, 0.6, ROWS))
    sheet = np.stack([u, v, -np.sqrt(1.3 - u**2 - v**2)], axis=-1).reshape(-1, 3)
    irises = np.repeat([[-0.2, -0.2, -1], [0.2, -0.2, -1]], 5, axis=0)
    points = np.concatenate([sheet, irises]) * (side / 2) + (side * 0.45, side / 2, 0)
    drift = np.arange(frames)[:, None, None] * np.array([side / 1000, 0, 0])
    return (points + drift).astype(np.float32)


def side_light() -> np.ndarray:
    """Light from the left, (9, 3)."""
    light = np.zeros((9, 3), np.float32)
    light[0], light[1] = 2.4, -0.3
    return light


@contextmanager
def domes_for_faces() -> Iterator[None]:
    """Let the embedded geometry model take domes for faces, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh_geometry, "face_mesh_triangles", dome_faces)
        patch.setattr(mesh_geometry, "skin_triangles", lambda faces: faces)
        conditions._loaded.cache_clear()
        yield
    conditions._loaded.cache_clear()


def _members(folder: Path, number: int, frames: int) -> dict[str, bytes]:
    folder.mkdir(parents=True)
    landmarks = dome_landmarks(frames)
    geometry = FaceGeometry(
        np.repeat(side_light()[None], frames, axis=0), {"landmarks": landmarks}, SIDE
    )
    random = np.random.default_rng(number)
    ground = np.repeat(np.repeat(random.integers(40, 200, (12, 12, 3)), 8, 0), 8, 1)
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    alpha[12:-12, 16:-16] = 255
    alpha[11], alpha[-12] = 128, 100
    size = (SIDE, SIDE)
    with (
        VideoWriter(folder / "video.mp4", size=size, fps=FPS) as video,
        VideoWriter(folder / "mesh.mp4", size=size, fps=FPS) as mesh,
        VideoWriter(folder / "kpmap.mp4", size=size, fps=FPS) as kpmap,
        GreyWriter(folder / "mask.mp4", size=size, fps=FPS) as mask,
    ):
        shading = shading_pictures(MeshGeometry(), geometry, SIDE)
        for frame, (picture, points) in enumerate(zip(shading, landmarks, strict=True)):
            video.write(np.where(picture > 0, picture, ground + frame).astype(np.uint8))
            mesh.write(picture)
            kpmap.write(draw_keypoints(points / np.float32(SIDE), SIDE))
            mask.write(alpha)
    np.savez(folder / "params.npz", **geometry.arrays())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def dome_release(
    folder: Path, lengths: tuple[int, ...] = (24, 20, 30), *, held_out: tuple[int, ...] = ()
) -> Release:
    """A release of clips of such lengths, all in the split train but for those held out."""
    with domes_for_faces():
        samples = [
            replace(
                sample(number, **_members(folder / f"members{number}", number, frames)),
                split="val" if number in held_out else "train",
                frames=frames,
                width=SIDE,
                height=SIDE,
                facts={"geometry": {"model": "mediapipe_mesh"}},
            )
            for number, frames in enumerate(lengths)
        ]
    return make_release(folder / "lake", samples)


def dome_recipe(**data: Any) -> Recipe:
    """A recipe for it: four frames at 64 pixels, unchanged, with all conditions."""
    table = {
        "size": 64,
        "frames": 4,
        "stride": (1, 2),
        "workers": 0,
        "augment": {"flip": 0, "zoom": 0, "light": 0},
    }
    return Recipe.model_validate(
        {
            "model": {"adapters": ("shading", "reference", "landmarks")},
            "conditions": {"scheme": "paper"},
            "data": table | data,
            "run": {"batch": 4, "steps": 3},
        }
    )


def damage(release: Release, folder: Path, key: str, member: str) -> Release:
    """A copy of a release, one byte of one member changed."""
    copy = Release(folder)
    for path in release.path.rglob("*.*"):
        target = copy.path / path.relative_to(release.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    [row] = [row for row in release.index.to_pylist() if row["key"] == key]
    name = member.replace(".", "_")
    shard = copy.shard(row["shard"])
    data = bytearray(shard.read_bytes())
    data[row[f"{name}_offset"] + row[f"{name}_size"] // 2] ^= 1
    shard.write_bytes(data)
    return copy
