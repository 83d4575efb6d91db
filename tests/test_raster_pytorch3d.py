"""How PyTorch3D is called, and how its answer is read.

A stand-in tells by our reading of its conventions; where the package is installed, itself.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
import torch

from infra.errors import UsageError
from stages.models.nets import best_device
from stages.models.raster.renderer import load_renderer
from stages.models.rasteriser import rasterise
from stages.models.shading import paint, shape_colours
from tests.golden_render import CASES, assert_renders_the_golden, golden_mesh, golden_render

BACKEND = "stages.models.raster.pytorch3d"


class FakeMeshes:
    """Meshes of as many faces each, packed one after the other."""

    def __init__(self, verts, faces):
        assert (verts.dtype, faces.dtype) == (torch.float32, torch.int64)
        assert len(verts) == len(faces)
        self.verts, self.faces = verts, faces


def fake_rasterize_meshes(meshes, *, image_size, **options):
    """PyTorch3D's answer for its frame: x left, y up, the shorter side from -1 to 1."""
    assert options == {"blur_radius": 0.0, "faces_per_pixel": 1, "perspective_correct": False}
    height, width = image_size
    found = []
    for number, (verts, faces) in enumerate(zip(meshes.verts, meshes.faces, strict=True)):
        assert verts[:, 2].min() > 0  # what lies behind would be left out
        half = min(image_size) / 2
        pixels = verts.double().numpy() * (-half, -half, 1) + np.array([width / 2, height / 2, 0])
        seen = rasterise(pixels, faces.numpy(), image_size)
        packed = np.where(seen.alpha, seen.face + number * len(faces), -1)
        depth = np.where(seen.alpha, seen.depth, -1)
        weights = np.where(seen.alpha[..., None], seen.barycentrics, -1)
        found.append((packed[..., None], depth[..., None], weights[..., None, :]))
    packed, depth, weights = (torch.from_numpy(np.stack(each)) for each in zip(*found, strict=True))
    return packed.long(), depth.float(), weights.float(), torch.full_like(depth, -1)


def module(name: str, **contents: object) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    vars(made).update(contents)
    return made


@pytest.fixture
def renderer(monkeypatch):
    for fake in (
        module("pytorch3d"),
        module("pytorch3d.structures", Meshes=FakeMeshes),
        module("pytorch3d.renderer"),
        module("pytorch3d.renderer.mesh", rasterize_meshes=fake_rasterize_meshes),
    ):
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delitem(sys.modules, BACKEND, raising=False)
    yield load_renderer("pytorch3d")
    sys.modules.pop(BACKEND, None)


@pytest.mark.parametrize("name", CASES)
def test_pytorch3d_gives_the_golden_render(renderer, name):
    assert_renders_the_golden(renderer, golden_render(name))


def test_faces_are_counted_in_each_frame_anew_and_depth_from_where_the_mesh_was(renderer):
    case = golden_render("C")
    vertices = torch.from_numpy(np.stack([case["in_trans_verts"]] * 3))
    fragments = sys.modules[BACKEND].rasterise(
        vertices, torch.from_numpy(case["faces"]), case["size"]
    )
    golden = case["out_pix_to_face"]
    there = golden >= 0
    depth = np.where(there, case["out_zbuf"] - 10, np.inf)
    for frame in range(3):
        face = fragments.face[frame].numpy()
        assert (face == golden).mean() >= 0.999
        np.testing.assert_array_equal(face >= 0, there)
        np.testing.assert_allclose(fragments.depth[frame], depth, rtol=0, atol=1e-3)
        total = fragments.barycentrics[frame].sum(dim=-1)
        np.testing.assert_allclose(total, there, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_pytorch3d_itself_gives_the_golden_render(name):
    """As the renderers are asked to: the face of 99.9% of pixels, shading within 1 of 255."""
    pytest.importorskip("pytorch3d")
    renderer, case = load_renderer("pytorch3d"), golden_render(name)
    vertices = torch.from_numpy(case["in_trans_verts"])[None].to(best_device())
    faces = torch.from_numpy(case["faces"]).to(best_device())
    seen = sys.modules[BACKEND].rasterise(vertices, faces, case["size"])
    found, golden = seen.face[0].cpu().numpy(), case["out_pix_to_face"]
    assert (found == golden).mean() >= 0.999
    (surface,) = renderer.surfaces([golden_mesh(case)], case["size"])
    image = paint(surface, shape_colours(surface, case.get("in_lights")))
    both = (found >= 0) & (golden >= 0)
    off = image[both] - case["out_image"].transpose(1, 2, 0)[both]
    assert np.abs(off).max() <= 1 / 255


def test_a_missing_pytorch3d_is_told_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    with pytest.raises(UsageError, match="Pytorch3dRenderer needs pytorch3d") as caught:
        load_renderer("pytorch3d")
    assert 'renderer = "numba"' in caught.value.hint
