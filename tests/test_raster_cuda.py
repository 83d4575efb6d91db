"""The GPU's rasteriser against the processor's.

Where there is no GPU, its kernels run in Triton's interpreter, and are compiled for one.
"""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from infra.errors import UsageError
from stages.models.raster.renderer import load_renderer
from stages.models.rasteriser import NOTHING, Fragments, ndc_to_pixels, rasterise
from tests.golden_render import (
    CASES,
    assert_pictures_agree,
    assert_renders_the_golden,
    golden_render,
)

ROOT = Path(__file__).resolve().parents[1]
SMALL = (12, 16)
NAMES = ("face", "barycentrics", "depth")


def random_meshes() -> dict[str, np.ndarray]:
    """Six triangles each in 30 frames: within the picture, about it, and on its pixel grid."""
    rng = np.random.default_rng(5)
    vertices = rng.uniform(-1.3, 1.3, (30, 18, 3))
    # Corners on pixel centres, and depths of few values: edges through centres, and ties.
    grid = np.array([8, 6, 4])
    vertices[20:] = np.rint(vertices[20:] * grid) / grid + [1 / 16, 1 / 12, 0]
    return {"vertices": vertices, "faces": np.arange(18).reshape(6, 3), "size": np.array(SMALL)}


def strange_meshes() -> dict[str, np.ndarray]:
    """Three triangles a frame, the first as strange as can be, the last two the same."""
    flat = [(-0.5, -0.5, 0), (0.5, -0.5, 0), (0, 0.5, 0)]
    first = np.array([flat] * 9, np.float64)
    for frame, value in enumerate((np.nan, np.inf, -np.inf)):
        first[frame, 2, 1] = first[3 + frame, 1, 2] = value
    first[6] *= 1e9  # fills the picture
    first[7] += (1e300, -1e300, 0)  # too far off for an integer
    first[8, 1] = first[8, 0]  # without area
    last = np.array([(-0.9, -0.9, -0.1), (0.9, -0.9, -0.1), (0, 0.9, 1 / 3)])
    vertices = np.concatenate([first, np.broadcast_to(np.tile(last, (2, 1)), (9, 6, 3))], axis=1)
    return {"vertices": vertices, "faces": np.arange(9).reshape(3, 3), "size": np.array(SMALL)}


def meshes() -> dict[str, dict[str, np.ndarray]]:
    found = {"random": random_meshes(), "strange": strange_meshes()}
    for name in CASES:
        case = golden_render(name)
        vertices = case["in_trans_verts"][None]
        found[name] = {"vertices": vertices, "faces": case["faces"], "size": np.array(case["size"])}
    return found


@pytest.fixture(scope="module")
def cuda() -> ModuleType:
    pytest.importorskip("triton", reason="torch brings Triton on Linux alone")
    return importlib.import_module("stages.models.raster.cuda")


@pytest.fixture(scope="module")
def interpreted(cuda, tmp_path_factory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("raster")
    given = {f"{case}.{k}": v for case, mesh in meshes().items() for k, v in mesh.items()}
    np.savez(folder / "meshes.npz", **given)
    paths = [str(folder / "meshes.npz"), str(folder / "fragments.npz")]
    subprocess.run(
        [sys.executable, "-m", "tests.raster_interpreter", *paths],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        check=True,
    )
    with np.load(paths[1]) as archive:
        return dict(archive)


def on_the_processor(mesh: dict[str, np.ndarray]) -> list[Fragments]:
    size = tuple(mesh["size"].tolist())
    return [rasterise(ndc_to_pixels(each, size), mesh["faces"], size) for each in mesh["vertices"]]


@pytest.mark.parametrize("case", ["random", "strange", *CASES])
def test_the_kernels_draw_what_the_processor_draws_to_the_bit(interpreted, case):
    expected = on_the_processor(meshes()[case])
    assert any(each.alpha.any() for each in expected)
    for name in NAMES:
        frames = np.stack([getattr(each, name) for each in expected])
        np.testing.assert_array_equal(interpreted[f"{case}.{name}"], frames)


@pytest.mark.parametrize("case", CASES)
def test_the_kernels_see_the_faces_that_pytorch3d_sees(interpreted, case):
    golden = golden_render(case)["out_pix_to_face"]
    np.testing.assert_array_equal(interpreted[f"{case}.face"][0], golden)


def test_triangles_without_a_place_are_not_drawn_and_of_equals_the_first_is(interpreted):
    seen = [set(np.unique(face)) for face in interpreted["strange.face"]]
    assert seen == [{NOTHING, 1}] * 6 + [{0, 1}] + [{NOTHING, 1}] * 2


POINTERS = {
    "vertices": "*fp64",
    "faces": "*i32",
    "keys": "*i64",
    "out_face": "*i32",
    "out_barycentrics": "*fp32",
    "out_depth": "*fp32",
}
CONSTANTS = {
    "draw_keys": {"faces_each": 4, "centres_each": 32},
    "resolve_keys": {"pixels_each": 256, "empty": (1 << 63) - 1, "nothing": NOTHING},
}


@pytest.mark.parametrize("name", CONSTANTS)
@pytest.mark.parametrize("narrow", [{}, {"width": 1}], ids=["wide", "narrow"])
def test_the_kernels_compile_for_hopper_without_fused_multiplications(
    cuda, name, narrow, tmp_path, monkeypatch
):
    import triton
    from triton.backends.compiler import GPUTarget

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(cuda, name)
    constants = CONSTANTS[name] | narrow  # Triton makes a constant of every number 1
    kinds = POINTERS | dict.fromkeys(constants, "constexpr")
    signature = {argument: kinds.get(argument, "i32") for argument in kernel.arg_names}
    source = triton.compiler.ASTSource(kernel, signature, constexprs=constants)
    options = {"enable_fp_fusion": False}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert "mul.rn.f64" in compiled.asm["ptx"]
    assert not re.search(r"\bfma\b", compiled.asm["ptx"])


def test_without_a_gpu_the_error_says_what_to_choose(cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="needs a CUDA GPU") as caught:
        load_renderer("cuda")
    assert 'renderer = "numba"' in caught.value.hint


def test_without_a_c_compiler_the_error_says_what_to_install(cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="needs a C compiler"):
        load_renderer("cuda")


@pytest.mark.cuda
@pytest.mark.parametrize("case", ["random", "strange", *CASES])
def test_a_gpu_draws_what_the_processor_draws_to_the_bit(cuda, gpu, case):
    mesh = meshes()[case]
    vertices, faces = (torch.from_numpy(mesh[name]).to(gpu) for name in ("vertices", "faces"))
    found = cuda.rasterise(vertices, faces, tuple(mesh["size"].tolist()))
    expected = on_the_processor(mesh)
    for name in NAMES:
        frames = np.stack([getattr(each, name) for each in expected])
        np.testing.assert_array_equal(getattr(found, name).cpu().numpy(), frames)


@pytest.mark.cuda
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_gives_the_golden_render(gpu, name):
    assert_renders_the_golden(load_renderer("cuda"), golden_render(name))


@pytest.mark.cuda
def test_pictures_of_a_gpu_are_those_of_the_processor(gpu):
    assert_pictures_agree(load_renderer("cuda"))
