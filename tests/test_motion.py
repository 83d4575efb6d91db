from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.models.deca.camera import Placement
from stages.models.deca.coefficients import Coefficients
from stages.models.deca.motion import align_motion, closest_frame
from stages.models.deca.steady import steady_motion
from stages.models.rotations import (
    angles,
    axis_angles,
    matrices,
    nearest_rotations,
    smooth_rotations,
)
from stages.smoothing import smooth_series
from tests.rule import generator, golden_arrays

seeds = st.integers(0, 2**32)
few = settings(max_examples=25)
RELATIVE = ("relative", "relative_paper", "so3")
EVERY = (*RELATIVE, "absolute", "absolute_paper")


def some_face(rng: np.random.Generator, frames: int, turn: float = 1.0) -> Coefficients:
    """A face that moves at random; rotations of up to ``turn`` half turns."""
    crop = np.zeros((frames, 3, 3))
    crop[:, [0, 1], [0, 1]] = rng.uniform(0.4, 2, (frames, 1))
    crop[:, :2, 2] = rng.uniform(-200, 50, (frames, 2))
    crop[:, 2, 2] = 1
    pose = turn * np.pi * rng.uniform(0, 0.99, (frames, 2, 1)) * unit(rng, (frames, 2, 3))
    arrays = {
        "shape": np.repeat(rng.normal(size=(1, 100)), frames, axis=0),
        "tex": rng.normal(size=(frames, 50)),
        "exp": rng.normal(size=(frames, 50)),
        "pose": pose.reshape(frames, 6),
        "cam": rng.uniform((5, -0.05, -0.05), (10, 0.05, 0.05), (frames, 3)),
        "light": rng.normal(size=(frames, 9, 3)),
        "tform": crop,
    }
    return Coefficients(**{name: value.astype(np.float32) for name, value in arrays.items()})


def unit(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def turns(face: Coefficients) -> np.ndarray:
    """(T, 2, 3, 3): head and jaw."""
    return matrices(face.pose.reshape(-1, 2, 3))


def turned(face: Coefficients, *, left: np.ndarray | None = None, right=None) -> Coefficients:
    """Head and jaw multiplied by rotations (2, 3, 3) on either side."""
    left, right = (np.eye(3) if each is None else each for each in (left, right))
    pose = axis_angles(left @ turns(face) @ right).reshape(-1, 6).astype(np.float32)
    return replace(face, pose=pose)


def filmed(face: Coefficients, scale: float, shift: np.ndarray) -> Coefficients:
    """The same film, enlarged and moved: pixel x becomes scale * x + shift."""
    back = np.array(
        [[1 / scale, 0, -shift[0] / scale], [0, 1 / scale, -shift[1] / scale], [0, 0, 1]]
    )
    return replace(face, tform=(face.tform @ back).astype(np.float32))


def recropped(rng: np.random.Generator, face: Coefficients) -> Coefficients:
    """The same film and the same head in it, measured in other crops."""
    crops = some_face(rng, len(face)).tform
    return replace(face, tform=crops, cam=Placement.of(face).camera(crops))


def unrest(face: Coefficients) -> float:
    """Mean turn of head and jaw from one frame to the next, radians."""
    return float(angles(turns(face)[1:] @ np.swapaxes(turns(face)[:-1], -1, -2)).mean())


def assert_same(got: Coefficients, wanted: Coefficients, *, atol: float = 2e-4) -> None:
    """Equal faces: poses as rotations, cameras as what they show in the picture."""
    for name in ("shape", "tex", "exp", "light"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), atol=atol)
    np.testing.assert_allclose(turns(got), turns(wanted), atol=atol)
    ours, theirs = Placement.of(got), Placement.of(wanted)
    np.testing.assert_allclose(ours.size, theirs.size, rtol=atol)
    np.testing.assert_allclose(ours.place, theirs.place, atol=atol * theirs.size.max())


# Rotations.


@given(seeds)
def test_axis_angles_and_matrices_are_inverse(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.uniform(0, np.pi, (20, 1)) * unit(rng, (20, 3))
    np.testing.assert_allclose(axis_angles(matrices(vectors)), vectors, atol=1e-9)


@given(seeds, st.integers(-3, 3))
def test_a_matrix_knows_no_branch_and_is_a_proper_rotation(seed, times):
    rng = np.random.default_rng(seed)
    axis, angle = unit(rng, (5, 3)), rng.uniform(0, np.pi, (5, 1))
    rotations = matrices((angle + 2 * np.pi * times) * axis)
    np.testing.assert_allclose(rotations, matrices(angle * axis), atol=1e-12)
    np.testing.assert_allclose(
        rotations @ np.swapaxes(rotations, 1, 2), [np.eye(3)] * 5, atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    np.testing.assert_allclose(rotations @ axis[..., None], axis[..., None], atol=1e-12)


@given(seeds, st.floats(0, 1e-3))
def test_no_accuracy_is_lost_near_no_turn_and_near_a_half_turn(seed, little):
    axis = unit(np.random.default_rng(seed), (3,))
    small = axis_angles(matrices(little * axis))
    np.testing.assert_allclose(small, little * axis, rtol=1e-9, atol=1e-300)
    half = matrices((np.pi - little) * axis)
    np.testing.assert_allclose(matrices(axis_angles(half)), half, atol=1e-12)
    assert angles(half) == pytest.approx(np.pi - little, abs=1e-12)


def test_rotations_are_the_reference_s():
    """FLAME's own, whose epsilon of 1e-8 in the angle is all that differs."""
    flame = golden_arrays("flame")
    rotations = matrices(flame["in_axis_angle"])
    np.testing.assert_allclose(rotations, flame["out_rotmat"], rtol=0, atol=1e-6)


@few
@given(seeds)
def test_the_nearest_rotation_is_proper_and_nearest(seed):
    rng = np.random.default_rng(seed)
    near = matrices(rng.normal(size=(4, 3))) + rng.normal(0, 0.2, (4, 3, 3))
    found = nearest_rotations(near)
    np.testing.assert_allclose(np.linalg.det(found), 1)
    others = found @ matrices(rng.normal(0, 0.05, (4, 3)))
    error = np.square(found - near).sum(axis=(1, 2))
    assert (error <= np.square(others - near).sum(axis=(1, 2)) + 1e-12).all()


@few
@given(seeds, st.floats(0.3, 4))
def test_smoothing_turns_with_the_frame_of_reference_and_runs_both_ways(seed, sigma):
    rng = np.random.default_rng(seed)
    path = matrices(np.cumsum(rng.normal(0, 0.2, (12, 3)), axis=0))
    left, right = matrices(rng.normal(size=(2, 3)))
    smooth = smooth_rotations(path, sigma)
    np.testing.assert_allclose(smooth_rotations(left @ path @ right, sigma), left @ smooth @ right)
    np.testing.assert_allclose(smooth_rotations(path[::-1], sigma), smooth[::-1], atol=1e-12)


@few
@given(seeds, st.floats(0.3, 4))
def test_smoothing_about_one_axis_keeps_to_it(seed, sigma):
    """Even where the axis-angle vector jumps from pi to -pi."""
    rng = np.random.default_rng(seed)
    axis = unit(rng, (3,))
    speed = rng.uniform(-0.2, 0.2)
    steady = matrices((np.pi + speed * np.arange(-15, 16))[:, None] * axis)
    smooth = smooth_rotations(steady, sigma)
    inner = slice(11, 20)  # where the window is whole
    np.testing.assert_allclose(smooth[inner], steady[inner], atol=1e-9)


def test_smoothing_calms_jitter_and_spares_what_is_still():
    rng = generator("jitter")
    jitter = matrices(rng.normal(0, 0.05, (200, 3)))
    assert angles(smooth_rotations(jitter, 2)).mean() < 0.5 * angles(jitter).mean()
    np.testing.assert_array_equal(smooth_rotations(jitter, 0), jitter)
    still = np.repeat(jitter[:1], 9, axis=0)
    np.testing.assert_allclose(smooth_rotations(still, 3), still, atol=1e-12)


@given(seeds, st.floats(0.3, 4))
def test_a_smoothed_series_keeps_its_range_and_its_steady_course(seed, sigma):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(30, 2))
    smooth = smooth_series(values, sigma)
    assert (smooth <= values.max(axis=0)).all()
    assert (smooth >= values.min(axis=0)).all()
    course = np.arange(40.0)
    np.testing.assert_allclose(smooth_series(course, sigma)[12:-12], course[12:-12])


@given(seeds, st.floats(0, 4))
def test_frames_that_all_count_alike_are_smoothed_as_ever(seed, sigma):
    values = np.random.default_rng(seed).normal(size=(20, 3))
    plain = smooth_series(values, sigma)
    for weights in (np.ones(20), np.ones(20, bool), np.zeros(20, bool)):
        np.testing.assert_array_equal(smooth_series(values, sigma, weights), plain)


@few
@given(seeds, st.floats(0.3, 4))
def test_what_does_not_count_leaves_no_trace(seed, sigma):
    rng = np.random.default_rng(seed)
    values, path = rng.normal(size=(20, 2)), matrices(rng.normal(size=(20, 3)))
    counts = rng.random(20) < 0.5
    others, turned_aside = values.copy(), path.copy()
    others[~counts], turned_aside[~counts] = 1e6, np.diag([1, -1, -1])
    if counts.any():
        for smooth, good, bad in (
            (smooth_series, values, others),
            (smooth_rotations, path, turned_aside),
        ):
            np.testing.assert_allclose(
                smooth(bad, sigma, counts), smooth(good, sigma, counts), rtol=0, atol=1e-9
            )


def test_a_gap_wider_than_the_window_is_bridged_in_a_line():
    course = np.arange(40.0)
    seen = np.ones(40, bool)
    seen[15:26] = False
    smooth = smooth_series(np.where(seen, course, -1000), 1, seen)
    assert (np.diff(smooth) > 0).all()
    middle = slice(17, 24)  # the windows within, three frames to a side, reach nothing seen
    np.testing.assert_allclose(np.diff(smooth[middle], n=2), 0, atol=1e-9)
    seen[:30] = False
    held = smooth_series(course, 1, seen)
    np.testing.assert_array_equal(held[:27], held[27])


# What LCVD does.


def golden(prefix: str) -> Coefficients:
    arrays = golden_arrays("motion_alignment")
    parts = {
        name: arrays[f"{prefix}_{name}"]
        for name in ("shape", "exp", "pose", "cam", "light", "tform")
    }
    return Coefficients(**parts, tex=np.zeros((len(parts["shape"]), 50), np.float32))


@pytest.mark.parametrize(("alignment", "case"), [("relative", "relative"), ("absolute", "sync")])
def test_released_alignments_are_the_reference_s(alignment, case):
    light = golden("in_light").light[0]
    got = align_motion(golden("in_ref"), golden("in_drv"), light, alignment)
    for name, wanted in golden(f"out_{case}").arrays().items():
        np.testing.assert_allclose(got.arrays()[name], wanted, rtol=0, atol=1e-6, err_msg=name)


def test_a_relit_frame_is_the_reference_s():
    frame, light = golden("in_drv")[2:3], golden("in_light").light[0]
    for got, case in ((frame, "single"), (frame.under(light), "single_with_light")):
        for name, wanted in golden(f"out_{case}").arrays().items():
            np.testing.assert_allclose(got.arrays()[name], wanted, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("alignment", ["relative", "absolute"])
def test_the_paper_s_variants_differ_from_the_code_s_in_what_it_says(alignment):
    rng = generator("paper")
    reference, driver = some_face(rng, 1, 0.2), some_face(rng, 4, 0.2)
    light = reference.light[0]
    code, paper = (
        align_motion(reference, driver, light, f"{alignment}{end}") for end in ("", "_paper")
    )
    np.testing.assert_array_equal(paper.pose, code.pose)
    np.testing.assert_array_equal(paper.exp, driver.exp)
    if alignment == "relative":
        assert np.abs(code.exp - driver.exp).max() > 0.1
        np.testing.assert_array_equal(paper.cam, code.cam)
    else:
        place, size = Placement.of(paper).place, Placement.of(paper).size
        np.testing.assert_allclose(place, Placement.of(driver).place, atol=0.01)
        np.testing.assert_allclose(size, Placement.of(reference).size.repeat(4), rtol=1e-5)


# What every alignment owes.


@pytest.mark.parametrize("alignment", EVERY)
def test_a_face_that_drives_itself_stays_as_it_is(alignment):
    face = some_face(generator("self"), 5)
    got = align_motion(face[:1], face, face.light, alignment)
    assert_same(got[:1], face[:1])
    if alignment == "so3":
        assert_same(got, replace(face, tex=np.repeat(face.tex[:1], 5, axis=0)))


@pytest.mark.parametrize("alignment", RELATIVE)
@pytest.mark.parametrize("base", ["first", "closest"])
def test_a_driver_at_rest_leaves_the_reference_at_rest(alignment, base):
    rng = generator("rest")
    reference, still = some_face(rng, 1), some_face(rng, 1)
    driver = still[np.zeros(4, int)]
    got = align_motion(reference, driver, reference.light[0], alignment, base=base, smoothing=1)
    wanted = reference[np.zeros(4, int)]
    if alignment == "relative_paper":
        wanted = replace(wanted, exp=driver.exp)
    assert_same(got, wanted)


@pytest.mark.parametrize("alignment", EVERY)
def test_identity_crop_and_light_are_not_the_driver_s(alignment):
    rng = generator("whose")
    reference, driver = some_face(rng, 1), some_face(rng, 3)
    lights = rng.normal(size=(3, 9, 3)).astype(np.float32)
    got = align_motion(reference, driver, lights, alignment)
    for name in ("shape", "tex", "tform"):
        np.testing.assert_array_equal(
            getattr(got, name), getattr(reference, name).repeat(3, axis=0)
        )
    np.testing.assert_array_equal(got.light, lights)
    steady = align_motion(reference, driver, lights[0], alignment)
    np.testing.assert_array_equal(steady.light, lights[:1].repeat(3, axis=0))


def test_wrong_numbers_of_frames_are_refused():
    face = some_face(generator("wrong"), 3)
    with pytest.raises(ValueError, match="must be 1 frame, not 3"):
        align_motion(face, face, face.light)
    with pytest.raises(ValueError, match="a frame or more, not 0"):
        align_motion(face[:1], face[:0], face.light[0])
    with pytest.raises(ValueError, match=r"\(9, 3\) or \(3, 9, 3\), not \(2, 9, 3\)"):
        align_motion(face[:1], face, face.light[:2])


# Motion as rotations, and in the picture.


@few
@given(seeds)
def test_rotations_compose_exactly_however_large(seed):
    rng = np.random.default_rng(seed)
    reference, start = some_face(rng, 1), some_face(rng, 1)
    motion = turns(some_face(rng, 6))
    motion[0] = np.eye(3)
    driver = turned(start[np.zeros(6, int)], left=motion)
    got = align_motion(reference, driver, reference.light[0])
    np.testing.assert_allclose(turns(got), motion @ turns(reference), atol=1e-5)


def test_numbers_of_axis_angles_do_not_compose():
    """Why there is `so3`: nodding by 50 degrees, from heads turned 60 degrees apart."""
    nod, aside = np.radians([50, 0, 0]), np.radians([0, 60, 0])
    reference = some_face(generator("nod"), 1)
    pose = np.zeros((2, 6), np.float32)
    pose[:, :3] = axis_angles(np.stack([np.eye(3), matrices(nod)]) @ matrices(aside))
    driver = replace(reference[np.zeros(2, int)], pose=pose)
    reference = replace(reference, pose=np.zeros((1, 6), np.float32))
    heads = {
        alignment: turns(align_motion(reference, driver, reference.light[0], alignment))[1, 0]
        for alignment in ("relative", "so3")
    }
    off = {name: np.degrees(angles(head @ matrices(nod).T)) for name, head in heads.items()}
    assert off["so3"] < 0.01
    assert off["relative"] > 15


@few
@given(seeds, st.integers(-2, 2), st.integers(-2, 2))
def test_so3_knows_no_branch_of_an_axis_angle(seed, ours, theirs):
    rng = np.random.default_rng(seed)
    reference, driver = some_face(rng, 1), some_face(rng, 4)

    def other(face, times):
        halves = face.pose.reshape(-1, 2, 3).astype(np.float64)
        halves = halves * (1 + 2 * np.pi * times / np.linalg.norm(halves, axis=-1, keepdims=True))
        return replace(face, pose=halves.reshape(-1, 6).astype(np.float32))

    plain = align_motion(reference, driver, reference.light[0])
    got = align_motion(other(reference, ours), other(driver, theirs), reference.light[0])
    assert_same(got, plain)
    assert np.linalg.norm(got.pose.reshape(-1, 2, 3), axis=-1).max() <= np.pi + 1e-6


@few
@given(seeds, st.sampled_from(["first", "closest"]))
def test_so3_turns_with_the_camera_and_not_with_the_driver_s_own_axes(seed, base):
    rng = np.random.default_rng(seed)
    reference, driver = some_face(rng, 1), some_face(rng, 4, 0.6)
    camera, axes = turns(some_face(rng, 2))
    light = reference.light[0]
    plain = align_motion(reference, driver, light, base=base)
    both = align_motion(
        turned(reference, left=camera), turned(driver, left=camera), light, base=base
    )
    assert_same(both, turned(plain, left=camera))
    if base == "first":
        assert_same(align_motion(reference, turned(driver, right=axes), light), plain)


@few
@given(seeds, st.floats(0.2, 5), st.floats(0, 2))
def test_so3_does_not_see_how_large_where_or_in_which_crops_the_driver_was_filmed(
    seed, scale, smoothing
):
    rng = np.random.default_rng(seed)
    reference, driver = some_face(rng, 1), some_face(rng, 4)
    light, shift = reference.light[0], rng.uniform(-300, 300, 2)
    plain = align_motion(reference, driver, light, smoothing=smoothing)
    for same in (filmed(driver, scale, shift), recropped(rng, driver)):
        assert_same(align_motion(reference, same, light, smoothing=smoothing), plain, atol=1e-3)


@few
@given(seeds, st.floats(0.2, 5))
def test_so3_follows_the_reference_s_own_scale_and_place(seed, scale):
    rng = np.random.default_rng(seed)
    reference, driver = some_face(rng, 1), some_face(rng, 4)
    light, shift = reference.light[0], rng.uniform(-300, 300, 2)
    plain = align_motion(reference, driver, light)
    got = align_motion(filmed(reference, scale, shift), driver, light)
    assert_same(got, filmed(plain, scale, shift), atol=1e-3)


def test_a_head_goes_as_many_of_its_own_sizes_as_the_driver_s():
    rng = generator("way")
    reference, start = some_face(rng, 1), some_face(rng, 1)
    size, place = Placement.of(start).size, Placement.of(start).place
    there = Placement(size * (1, 1, 1.5), place + size * [[0, 0], [0.1, 0], [0, -0.2]])
    driver = start[np.zeros(3, int)]
    driver = replace(driver, cam=there.camera(driver.tform))
    was, got = (
        Placement.of(reference),
        Placement.of(align_motion(reference, driver, reference.light[0])),
    )
    np.testing.assert_allclose(got.size / was.size, [1, 1, 1.5], rtol=1e-4)
    way = (got.place - was.place) / was.size
    np.testing.assert_allclose(way, [[0, 0], [0.1, 0], [0, -0.2]], atol=1e-4)


def test_a_placement_is_where_deca_s_camera_and_crop_put_the_origin():
    """A head of size 5 in the middle of a 512-pixel picture that one crop covers."""
    face = some_face(generator("place"), 1)
    tform = np.diag([224 / 512, 224 / 512, 1]).astype(np.float32)[None]
    middle = replace(face, tform=tform, cam=np.array([[5, 0, 0.1]], np.float32))
    there = Placement.of(middle)
    assert there.size[0] == pytest.approx(5 * 256)
    np.testing.assert_allclose(there.place, [[256, 256 - 0.1 * 5 * 256]], rtol=1e-6)


@given(seeds)
def test_a_camera_says_what_its_placement_says(seed):
    face = some_face(np.random.default_rng(seed), 4)
    np.testing.assert_allclose(Placement.of(face).camera(face.tform), face.cam, atol=1e-4)


# The base, and smoothing.


@few
@given(seeds, st.integers(0, 5))
def test_the_closest_frame_is_the_one_that_is_turned_alike(seed, at):
    rng = np.random.default_rng(seed)
    driver = some_face(rng, 6)
    reference = turned(driver[at : at + 1], left=matrices(1e-4 * rng.normal(size=(2, 3))))
    assert closest_frame(reference, driver) == at
    got = align_motion(reference, driver, reference.light[0], base="closest")
    np.testing.assert_allclose(turns(got)[at], turns(reference)[0], atol=1e-5)


def test_smoothing_calms_the_head_in_the_picture_whatever_the_crops_do():
    rng = generator("calm")
    steady = some_face(rng, 1)[np.zeros(60, int)]
    crops = recropped(rng, steady)  # the same head, through crops that jump about
    smooth = steady_motion(crops, 2)
    np.testing.assert_allclose(Placement.of(smooth).place, Placement.of(steady).place, atol=0.05)
    jitter = replace(
        steady,
        pose=steady.pose + rng.normal(0, 0.03, (60, 6)).astype(np.float32),
        exp=steady.exp + rng.normal(0, 0.1, (60, 50)).astype(np.float32),
    )
    calm = steady_motion(jitter, 2)
    assert unrest(calm) < 0.5 * unrest(jitter)
    assert calm.exp.std(axis=0).mean() < 0.5 * jitter.exp.std(axis=0).mean()
    assert steady_motion(jitter, 0) is jitter
