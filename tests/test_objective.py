"""The loss of training samples; much of this was wrong in LCVD's released training."""

from dataclasses import replace

import pytest
import torch

from stages.models.nets import one_thread
from training.diffusion.branches import BARE, FULL, UNLIT
from training.loop.draws import noise_levels, training_draws, validation_draws
from training.loop.objective import Objective
from training.model.blocks import BlockCodec
from training.model.tokens import ColourToken
from training.recipe import Recipe
from training.samples.sample import TrainingSample, collate

SIZE, FRAMES, GRID = 64, 3, 8
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _alone():
    with one_thread():
        yield


def recipe(**conditions) -> Recipe:
    table = {"full": 0.4, "unlit": 0.3, "bare": 0.3} | conditions
    return Recipe.model_validate(
        {
            "model": {"latents": "blocks", "luma": 3, "chroma": 1, "token": "colours"},
            "data": {"size": SIZE, "frames": FRAMES},
            "conditions": table,
            "diffusion": {"fps_id": 6, "motion_id": 127},
        }
    )


def sample(position: int) -> TrainingSample:
    random = torch.Generator().manual_seed(position)

    def pictures() -> torch.Tensor:
        return torch.randint(256, (FRAMES, SIZE, SIZE, 3), generator=random, dtype=torch.uint8)

    mask = torch.rand(FRAMES, GRID, GRID, generator=random) < 0.5
    return TrainingSample(position, f"clip{position}", pictures(), mask, pictures(), pictures())


class Spy:
    """A network that remembers what it was given, and mixes each sample's own inputs."""

    def __call__(self, latents, timestep, token, time_ids, *, pictures, keep):
        self.latents, self.timestep, self.token = latents, timestep, token
        self.time_ids, self.pictures, self.keep = time_ids, pictures, keep
        noisy, ground = latents.chunk(2, dim=2)
        told = timestep + token.mean((1, 2)) + time_ids[:, 2]
        seen = sum(keep[s] * pictures[s].mean((1, 2, 3, 4)) for s in pictures)
        return 0.3 * noisy - 0.2 * ground + (told + seen).view(-1, 1, 1, 1, 1)


def objective(chosen: Recipe | None = None) -> Objective:
    chosen = chosen or recipe()
    codec = BlockCodec(chosen.model.luma, chosen.model.chroma)
    return Objective(chosen, codec, ColourToken(48), CPU)


def run(samples, chosen=None):
    spy, loss = Spy(), objective(chosen)
    batch = collate(samples)
    found = loss.losses(spy, batch, loss.training_draws(batch.positions))
    return found, spy, loss


def test_a_batch_of_two_is_two_batches_of_one():
    both, _, loss = run([sample(3), sample(8)])
    alone = [run([sample(position)])[0] for position in (3, 8)]
    torch.testing.assert_close(both.full, torch.cat([each.full for each in alone]))
    torch.testing.assert_close(both.portrait, torch.cat([each.portrait for each in alone]))
    halves = torch.stack([loss.total(each) for each in alone])
    torch.testing.assert_close(loss.total(both), halves.mean())


def test_what_is_drawn_for_a_sample_depends_on_no_other():
    shapes = objective().shapes
    some = training_draws(recipe(), [5, 9, 2], shapes)
    other = training_draws(recipe(), [9], shapes)
    for name in ("sigma", "noise", "latents", "ground_sigma", "ground"):
        torch.testing.assert_close(
            getattr(some, name)[1:2], getattr(other, name), rtol=0, atol=0, msg=name
        )
    assert some.branches[1:2] == other.branches
    assert not torch.equal(some.noise[0], some.noise[1])


def test_another_seed_draws_otherwise():
    one, table = recipe(), recipe().run
    other = one.model_copy(update={"run": table.model_copy(update={"seed": 1})})
    shapes = objective().shapes
    assert training_draws(one, [0], shapes).sigma != training_draws(other, [0], shapes).sigma


def test_every_sample_has_its_own_noise_on_the_reference_and_is_told_of_it():
    """LCVD told all samples of a batch the first one's."""
    _, spy, loss = run([sample(p) for p in range(4)])
    told = spy.time_ids[:, 2]
    assert len(told.unique()) == 4
    torch.testing.assert_close(told, loss.training_draws(range(4)).ground_sigma)
    torch.testing.assert_close(spy.time_ids[:, :2], torch.tensor([6.0, 127.0]).expand(4, 2))


def test_conditions_are_dropped_for_each_sample_by_itself():
    """LCVD's masks had the batch's shape only at a batch of one."""
    _, spy, loss = run([sample(p) for p in range(24)])
    branches = loss.training_draws(range(24)).branches
    assert set(branches) == {FULL, UNLIT, BARE}
    _, ground = spy.latents.chunk(2, dim=2)
    for row, branch in enumerate(branches):
        assert bool(spy.keep["shading"][row]) == branch.shading
        assert bool(spy.keep["reference"][row]) == branch.reference
        assert bool(spy.token[row].any()) == branch.token
        assert bool(ground[row].any()) == branch.ground


def test_the_target_is_the_video_and_shading_is_a_condition_only():
    """LCVD's list of clips named the shading's film as the video."""
    one = sample(0)
    dark = replace(one, shading=torch.zeros_like(one.shading))
    loss = objective(recipe(full=0.0, unlit=0.0, bare=1.0))

    class Silent(Spy):
        def __call__(self, *given, **named):
            super().__call__(*given, **named)
            return torch.zeros_like(given[0].chunk(2, dim=2)[0])

    def full(given, network):
        batch = collate([given])
        return loss.losses(network, batch, loss.training_draws([0])).full

    assert torch.equal(full(one, Silent()), full(dark, Silent()))
    assert not torch.equal(full(one, Silent()), full(replace(one, video=one.shading), Silent()))
    network = Silent()
    full(one, network)
    expected = one.shading.permute(0, 3, 1, 2)[None] / 255
    torch.testing.assert_close(network.pictures["shading"], expected)


def test_a_network_that_knows_the_video_has_no_loss():
    given = sample(2)
    loss = objective()
    batch = collate([given])
    draws = loss.training_draws([2])
    assert batch.video is not None
    mean, _ = loss.codec.moments(batch.video.flatten(0, 1))
    sigma = draws.sigma.view(-1, 1, 1, 1, 1)
    latents = mean[None]
    noisy = latents + sigma * draws.noise

    def knowing(*given, **named):
        root = (sigma**2 + 1).sqrt()
        return (latents - noisy / root**2) / (-sigma / root)

    found = loss.losses(knowing, batch, draws)
    assert float(found.full) < 1e-6
    assert float(found.portrait) < 1e-6


def test_the_ground_is_the_reference_around_its_portrait():
    given = replace(sample(1), mask=torch.zeros(FRAMES, GRID, GRID, dtype=torch.bool))
    given.mask[0, :, :4] = True
    given.mask[1:] = True  # the other slots' masks have no say
    loss = objective(recipe(full=1.0, unlit=0.0, bare=0.0))
    batch = collate([given])
    draws = loss.training_draws([1])
    shown = loss.shown(batch, draws)
    assert not shown.ground[..., :4].any()
    noised = batch.reference + draws.ground_sigma * draws.ground
    expected, _ = loss.codec.moments(noised)
    torch.testing.assert_close(shown.ground[..., 4:], expected[..., 4:])


def test_the_reference_is_looked_at_once_and_clean():
    given = sample(4)
    _, spy, _ = run([given], recipe(full=1.0, unlit=0.0, bare=0.0))
    expected = given.video[0].permute(2, 0, 1)[None, None] / 127.5 - 1
    torch.testing.assert_close(spy.pictures["reference"], expected)
    assert set(spy.pictures) == {"shading", "reference"}  # landmarks have no adapter here


def test_cached_latents_stand_for_the_video():
    given, loss = sample(6), objective()
    batch = collate([given])
    assert batch.video is not None
    moments = torch.cat(loss.codec.moments(batch.video[0]), dim=1)
    cached = replace(given, video=given.video[:1], moments=moments)
    plain, _, _ = run([given])
    stored, _, _ = run([cached])
    torch.testing.assert_close(plain.full, stored.full)
    torch.testing.assert_close(plain.portrait, stored.portrait)


def test_latents_are_drawn_out_of_their_distribution_and_scaled():
    class Wide(BlockCodec):
        scale = 0.5

        def moments(self, pictures):
            mean, std = super().moments(pictures)
            return mean, std + 2

    chosen = recipe()
    loss = Objective(chosen, Wide(3, 1), ColourToken(48), CPU)
    batch, spy = collate([sample(7)]), Spy()
    draws = replace(loss.training_draws([7]), sigma=torch.tensor([1e-6]))
    loss.losses(spy, batch, draws)
    assert batch.video is not None
    mean, _ = BlockCodec(3, 1).moments(batch.video[0])
    torch.testing.assert_close(
        spy.latents[0, :, :5], 0.5 * (mean + 2 * draws.latents[0]), atol=1e-4, rtol=0
    )


def test_validation_is_at_the_same_levels_and_noise_each_time():
    chosen, shapes = recipe(), objective().shapes
    levels = noise_levels(chosen.diffusion, 4)
    assert levels == sorted(levels)
    # Half of training's noise levels are below the median, exp(0.7).
    assert levels[1] < 2.014 < levels[2]
    one = validation_draws(chosen, [(0, 2), (1, 2)], levels, shapes)
    again = validation_draws(chosen, [(1, 2)], levels, shapes)
    assert torch.equal(one.noise[1:], again.noise)
    assert not torch.equal(one.noise[0], one.noise[1])
    torch.testing.assert_close(one.sigma, torch.tensor([levels[2]] * 2))
    assert set(one.branches) == {FULL}
