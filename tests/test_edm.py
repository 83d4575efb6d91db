"""Noise levels, preconditioning and losses of training.

The golden numbers are of LCVD's own lines (see the goldens' README): 1e-5.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.rule import golden_arrays
from training.diffusion import edm
from training.recipe.tables import DiffusionTable

SIGMAS = st.floats(0.002, 700)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in golden_arrays("edm").items()}


@pytest.fixture(scope="module")
def losses(golden: dict[str, Tensor]) -> edm.Losses:
    return edm.losses(golden["denoised"], golden["latents"], golden["mask"], golden["sigmas"])


def close(found: Tensor, golden: Tensor) -> None:
    torch.testing.assert_close(found, golden, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["c_in", "c_skip", "c_out", "c_noise", "weight"])
def test_the_coefficients_are_those_of_lcvd_at_every_noise_level(
    golden: dict[str, Tensor], name: str
) -> None:
    close(getattr(edm.preconditioning(golden["table_sigma"]), name), golden[f"table_{name}"])


@pytest.mark.parametrize(("mean", "std"), [(0.7, 1.6), (-3, 0.5)])
def test_noise_levels_are_drawn_as_lcvd_draws_them(
    golden: dict[str, Tensor], mean: float, std: float
) -> None:
    # Beyond, the golden itself is limited by float32.
    exact = (golden["u"] >= 1e-3) & (golden["u"] <= 0.999)
    found = edm.log_normal(edm.normal_of_uniform(golden["u"]), mean, std)
    wanted = golden[f"sigma_from_u_loc{mean}_scale{std}"]
    torch.testing.assert_close(found[exact], wanted[exact], rtol=1e-4, atol=0)


def test_latents_are_noised_scaled_and_denoised_as_in_lcvd(golden: dict[str, Tensor]) -> None:
    noisy = edm.noised(golden["latents"], golden["noise"], golden["sigmas"])
    close(noisy, golden["noisy_latents"])
    close(edm.network_input(noisy, golden["sigmas"]), golden["inp_noisy_latents"])
    close(edm.denoised(golden["model_pred"], noisy, golden["sigmas"]), golden["denoised"])


def test_both_losses_of_each_sample_are_those_of_lcvd(
    golden: dict[str, Tensor], losses: edm.Losses
) -> None:
    close(losses.full, golden["loss_full_per_sample"])
    close(losses.portrait, golden["loss_mask_per_sample"])
    close(losses.total().mean(), golden["loss_total"])


def test_an_empty_mask_adds_nothing(golden: dict[str, Tensor], losses: edm.Losses) -> None:
    assert golden["mask"][2].sum() == 0
    assert losses.portrait[2] == 0
    assert losses.total()[2] == losses.full[2]


def test_the_portraits_loss_counts_by_its_weight(losses: edm.Losses) -> None:
    torch.testing.assert_close(losses.total(0.25), losses.full + losses.portrait / 4)


@settings(deadline=None, max_examples=20)
@given(sigmas=st.lists(SIGMAS, min_size=1, max_size=4), seed=st.integers(0, 2**31))
def test_a_batch_is_its_samples_one_by_one(sigmas: list[float], seed: int) -> None:
    """LCVD's masks and ground noise are right for batches of one sample alone."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(sigmas), 2, 3, 4, 4)
    latents, noise, prediction = torch.randn(3, *shape, generator=generator)
    mask = (torch.rand(len(sigmas), 2, 1, 4, 4, generator=generator) > 0.5).float()
    sigma = torch.tensor(sigmas)

    def of(rows: slice) -> Tensor:
        noisy = edm.noised(latents[rows], noise[rows], sigma[rows])
        found = edm.denoised(prediction[rows], noisy, sigma[rows])
        terms = edm.losses(found, latents[rows], mask[rows], sigma[rows])
        return torch.stack([terms.full, terms.portrait])

    apart = torch.cat([of(slice(i, i + 1)) for i in range(len(sigmas))], dim=1)
    torch.testing.assert_close(of(slice(None)), apart)


def test_each_sample_is_told_of_the_noise_on_its_own_ground() -> None:
    """LCVD tells all samples of a batch of the first one's."""
    levels = torch.tensor([0.02, 0.05, 0.11])
    ids = edm.time_ids(levels, DiffusionTable())
    assert ids.shape == (3, 3)
    assert ids[:, :2].tolist() == [[6, 127]] * 3
    assert torch.equal(ids[:, 2], levels)


@given(SIGMAS)
def test_the_networks_own_error_weighs_alike_at_every_noise_level(sigma: float) -> None:
    terms = edm.preconditioning(torch.tensor([sigma]))
    np.testing.assert_allclose(terms.weight * terms.c_out**2, 1, rtol=1e-5)


@given(SIGMAS)
def test_a_network_that_predicts_v_has_no_loss(sigma: float) -> None:
    """v = noise / sqrt(1 + s^2) - latents * s / sqrt(1 + s^2): Salimans and Ho 2022, scaled."""
    latents, noise = torch.randn(2, 1, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    level = torch.tensor([sigma])
    v = (noise - sigma * latents) / (1 + sigma**2) ** 0.5
    found = edm.denoised(v, edm.noised(latents, noise, level), level)
    np.testing.assert_allclose(found, latents, atol=2e-4)
