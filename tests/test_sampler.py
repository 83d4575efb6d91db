"""The sampler's core: schedule, steps, fusion, short and long videos, and what it asks a network.

The goldens are LCVD's own pipeline, run with a network that is a formula (see the goldens' README):
noise levels 1e-6 relative, latents 5e-5.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.rule import golden_arrays, golden_facts
from training.diffusion.branches import (
    PAPER_LIT,
    PAPER_NONE,
    Branch,
    Guidance,
    guidance,
    ladder,
)
from training.diffusion.sample import Network, SamplingCancelledError, frame_noise, sample
from training.diffusion.sigmas import euler_step, karras_sigmas, start_sigma, timestep

SHAPE = (2, 3, 3)
LCVD_MODES: dict[str, Guidance] = {
    "relighting": guidance("paper", 4.5),
    "landmark": guidance("paper", 4.5, driving="landmarks"),
    "other": ladder((PAPER_NONE, 1.0), (PAPER_LIT, 4.5)),
}


class GoldenNetwork:
    """The network of the goldens: a formula over each window and its conditions."""

    def __init__(self) -> None:
        arrays = golden_arrays("sampler")
        self._of = golden_facts("sampler")["fake_unet"]
        self._ground = torch.from_numpy(arrays["in_vae_latent"] * (1 - arrays["in_mask"][0]))
        self._token = float(arrays["in_clip"].mean())
        self._streams = {
            "shading": ("d", torch.from_numpy(arrays["in_light"][0])),
            "reference": ("e", torch.from_numpy(arrays["in_ref"][0])),
            "landmarks": ("h", torch.from_numpy(arrays["in_head"][0])),
        }

    def __call__(
        self,
        latents: Tensor,
        timestep: float,
        frames: Sequence[Sequence[int]],
        branches: Sequence[Branch],
    ) -> Tensor:
        rows = [
            self._predict(window, timestep, list(indices), branch)
            for branch in branches
            for window, indices in zip(latents, frames, strict=True)
        ]
        return torch.stack(rows).unflatten(0, (len(branches), len(frames)))

    def _predict(self, n: Tensor, t: float, frames: list[int], branch: Branch) -> Tensor:
        of = self._of
        slots = torch.arange(len(frames))[:, None, None, None] / len(frames)
        out = of["a"] * n + of["c"] * n.mean(0) + of["q"] * t + of["r"] * slots
        out += of["b"] * self._ground[frames] * branch.ground + of["k"] * self._token * branch.token
        for stream in branch.streams:
            factor, features = self._streams[stream]
            out += of[factor] * features[frames]
        return out


class Recorder:
    """A network that mixes a window's frames, and notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[list[int]], int]] = []
        self.rows: list[int] = []

    def __call__(
        self,
        latents: Tensor,
        timestep: float,
        frames: Sequence[Sequence[int]],
        branches: Sequence[Branch],
    ) -> Tensor:
        self.calls.append(([list(window) for window in frames], latents.shape[1]))
        self.rows.append(len(branches) * len(latents))
        index = torch.tensor(frames)[..., None, None, None] / 10
        mixed = 0.5 * latents + 0.3 * latents.mean(1, keepdim=True) + index.sin() + timestep
        return torch.stack([mixed * (1 + len(branch.streams)) for branch in branches])


@pytest.mark.parametrize("steps", [3, 25])
def test_the_schedule_is_that_of_diffusers_under_svds_configuration(steps: int) -> None:
    golden = golden_arrays("sampler")
    sigmas = karras_sigmas(steps)
    times = [timestep(sigma) for sigma in sigmas[:-1]]
    np.testing.assert_allclose(sigmas, golden[f"sigmas_{steps}"], rtol=1e-6)
    np.testing.assert_allclose(times, golden[f"timesteps_{steps}"], rtol=1e-6)
    start = golden_facts("sampler")[f"init_noise_sigma_{steps}"]
    assert start_sigma(sigmas[0]) == pytest.approx(start, rel=1e-6)


@given(st.integers(2, 60), st.floats(1e-3, 0.1), st.floats(1, 1000))
def test_noise_levels_fall_from_the_first_to_the_last_and_end_at_0(
    steps: int, low: float, high: float
) -> None:
    sigmas = karras_sigmas(steps, low, high)
    assert len(sigmas) == steps + 1
    assert list(sigmas) == sorted(set(sigmas), reverse=True)
    assert sigmas[0] == pytest.approx(high)
    assert sigmas[-2] == pytest.approx(low)
    assert sigmas[-1] == 0


def test_one_step_goes_from_the_first_noise_level_to_none() -> None:
    assert karras_sigmas(1, sigma_max=80) == (pytest.approx(80), 0)


@pytest.mark.parametrize(
    ("steps", "low", "high", "says"),
    [(0, 0.002, 700, "steps = 0"), (9, 2, 1, "sigma_max = 1"), (9, 0, 1, "sigma_min = 0")],
)
def test_a_schedule_that_cannot_be_is_refused(
    steps: int, low: float, high: float, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        karras_sigmas(steps, low, high)


@given(st.floats(0.01, 700), st.floats(0, 1))
def test_a_step_lands_on_the_line_between_the_latents_and_the_noise(
    sigma: float, share: float
) -> None:
    """Where the network is right, each step removes its share of the noise and nothing else."""
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    v = (noise - sigma * latents) / (1 + sigma**2) ** 0.5
    stepped = euler_step(latents + sigma * noise, v, sigma, share * sigma)
    np.testing.assert_allclose(stepped, latents + share * sigma * noise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", LCVD_MODES)
def test_a_sample_is_that_of_lcvds_pipeline(mode: str) -> None:
    golden, seen = golden_arrays("sampler"), list[Tensor]()
    found = sample(
        GoldenNetwork(),
        frames=25,
        shape=(4, 8, 8),
        guidance=LCVD_MODES[mode],
        steps=3,
        noise=torch.from_numpy(golden["in_noise26"][0]),
        watch=lambda latents: seen.append(latents.clone()),
    )
    np.testing.assert_allclose(found, golden[f"out_{mode}_noise26"][0], atol=5e-5)
    # At noise level 700 float32 itself is no finer than 1e-4: there, relative to the noise.
    for latents, wanted in zip(seen, golden[f"traj_{mode}_noise26"][:, 0], strict=True):
        np.testing.assert_allclose(latents, wanted, atol=5e-5 * max(1, np.abs(wanted).max()))


def test_a_sample_from_lcvds_noise_which_repeats_every_16_frames_is_lcvds() -> None:
    golden = golden_arrays("sampler")
    found = sample(
        GoldenNetwork(),
        frames=25,
        shape=(4, 8, 8),
        guidance=LCVD_MODES["relighting"],
        steps=3,
        noise=torch.from_numpy(golden["in_noise16"][0])[torch.arange(26) % 16],
    )
    np.testing.assert_allclose(found, golden["out_relighting_noise16_tiled"][0], atol=5e-5)


def short(network: Network, frames: int, **options: Any) -> Tensor:
    """A sample of two steps in windows of 8, under three branches."""
    return sample(
        network,
        frames=frames,
        shape=SHAPE,
        guidance=guidance("branches", light=3, identity=2),
        steps=2,
        window=8,
        overlap=3,
        **options,
    )


def test_all_branches_of_a_window_go_through_the_network_in_one_pass() -> None:
    network = Recorder()
    short(network, 17)
    assert len(network.calls) == 2 * 3  # steps x windows
    assert set(network.rows) == {3}


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(2, 9))
def test_the_result_does_not_depend_on_how_many_windows_go_at_once(
    frames: int, at_once: int
) -> None:
    one, more = Recorder(), Recorder()
    torch.testing.assert_close(short(one, frames), short(more, frames, windows_at_once=at_once))
    assert max(len(windows) for windows, _ in more.calls) <= at_once


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60))
def test_the_network_sees_a_window_at_a_time_however_long_the_video(frames: int) -> None:
    network = Recorder()
    found = short(network, frames)
    assert found.shape == (frames + 1, *SHAPE)
    assert all(len(windows) == 1 and slots == 8 for windows, slots in network.calls)
    assert {i for windows, _ in network.calls for i in windows[0]} == set(range(frames + 1))


@pytest.mark.parametrize("frames", [1, 2, 6])
def test_a_short_clip_is_the_start_of_one_that_holds_its_last_frame(frames: int) -> None:
    """LCVD fails with an IndexError here."""
    held = Recorder()

    def holding(
        latents: Tensor, t: float, windows: Sequence[Sequence[int]], branches: Sequence[Branch]
    ) -> Tensor:
        return held(latents, t, [[min(i, frames) for i in w] for w in windows], branches)

    assert torch.equal(short(Recorder(), frames), short(holding, 7)[: frames + 1])


def test_a_frames_noise_is_its_own_and_the_same_in_any_video() -> None:
    noise = [frame_noise(5, frame, SHAPE) for frame in range(40)]
    assert len({each.numpy().tobytes() for each in noise}) == 40
    assert torch.equal(frame_noise(5, 17, SHAPE), noise[17])
    assert not torch.equal(frame_noise(6, 17, SHAPE), noise[17])


def test_the_start_of_a_video_does_not_depend_on_what_follows_its_windows() -> None:
    """Frames 1 to 5 lie in the first window alone; the reference's slot lies in all."""

    def own(latents: Tensor, t: float, windows: object, branches: Sequence[Branch]) -> Tensor:
        mixed = latents[:, 1:].mean(1, keepdim=True)
        return torch.stack([0.5 * latents + mixed] * len(branches))

    assert torch.equal(short(own, 30)[1:6], short(own, 12)[1:6])


def test_progress_is_told_after_every_pass() -> None:
    told: list[tuple[int, int]] = []
    short(Recorder(), 17, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 6) for done in range(1, 7)]


def test_a_cancelled_sample_ends_before_the_next_pass() -> None:
    network = Recorder()
    with pytest.raises(SamplingCancelledError, match="4 of 6 passes"):
        short(network, 17, cancelled=lambda: len(network.calls) == 4)
    assert len(network.calls) == 4
