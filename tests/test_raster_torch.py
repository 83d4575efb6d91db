"""Interpolation and shading of batches in torch, against those of single frames and the golden."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.models.raster import torch_renderer
from stages.models.raster.renderer import NumbaRenderer
from stages.models.raster.torch_renderer import TorchRenderer
from stages.models.raster.torch_shading import FragmentBatch, incidence
from stages.models.rasteriser import ndc_to_pixels, rasterise
from tests.golden_render import (
    CASES,
    assert_pictures_agree,
    assert_renders_the_golden,
    golden_render,
    turning_under_lights,
)

NAMES = ("face", "barycentrics", "depth")


def by_numba(vertices: torch.Tensor, faces: torch.Tensor, size: tuple[int, int]) -> FragmentBatch:
    """Stands in for a rasteriser of tensors."""
    found = [rasterise(ndc_to_pixels(v, size), faces.numpy(), size) for v in vertices.numpy()]
    return FragmentBatch(
        *(torch.from_numpy(np.stack([getattr(each, name) for each in found])) for name in NAMES)
    )


@pytest.fixture
def batched() -> TorchRenderer:
    return TorchRenderer(by_numba, torch.device("cpu"), batch=2)


@pytest.mark.parametrize("name", CASES)
def test_shading_in_batches_gives_the_golden_render(batched, name):
    assert_renders_the_golden(batched, golden_render(name))


def test_pictures_of_batches_are_those_of_single_frames(batched):
    assert_pictures_agree(batched)


def test_surfaces_of_batches_are_those_of_single_frames_to_the_bit(batched):
    turning, _ = turning_under_lights()
    plain = NumbaRenderer().surfaces(turning, (64, 80))
    for ours, theirs in zip(batched.surfaces(turning, (64, 80)), plain, strict=True):
        assert ours.size == theirs.size
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)
        np.testing.assert_array_equal(ours.normals, theirs.normals)


def test_meshes_are_drawn_from_a_clip_batch_by_batch(batched):
    drawn = []

    def clip():
        for number, mesh in enumerate(turning_under_lights()[0]):
            drawn.append(number)
            yield mesh

    next(batched.surfaces(clip(), (12, 16)))
    assert drawn == [0, 1]


def test_a_topology_is_worked_out_once_a_clip_and_anew_for_another(batched, monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch_renderer,
        "incidence",
        lambda faces, vertices: asked.append(faces) or incidence(faces, vertices),
    )
    turning, _ = turning_under_lights()
    whole, half = turning[0].faces, turning[0].faces[::2]
    clip, other = ([replace(mesh, faces=each) for mesh in turning] for each in (whole, half))
    for meshes in (clip, other, clip):
        plain = NumbaRenderer().surfaces(meshes, (24, 32))
        for ours, theirs in zip(batched.surfaces(meshes, (24, 32)), plain, strict=True):
            np.testing.assert_array_equal(ours.normals, theirs.normals)
    assert len(clip) > 2  # several batches
    assert [each is half for each in asked] == [False, True, False]
