"""The weights that a small model starts from nothing with."""

import torch
import torch.nn.functional as F  # noqa: N812

from training.model.adapters import Adapter
from training.model.official import initial_model
from training.recipe.tables import ModelTable

TINY = ModelTable(
    start="random", channels=(32, 32), heads=(2, 2), layers=1, token_width=16, latents="blocks"
)


def unexplained(adapter: Adapter) -> float:
    """Share of the variance of blocks' means that no linear map reads off the adapter.

    What is read is what it knows before its last projection, which starts with zeros.
    """
    torch.manual_seed(0)
    smooth = torch.rand(64, 3, 6, 6) * 2 - 1
    pictures = F.interpolate(smooth, (64, 64), mode="bilinear")
    with torch.no_grad():
        found = adapter.conv_layers(pictures).double()[..., 1:-1, 1:-1]
    rows = torch.cat([found, torch.ones_like(found[:, :1])], 1).movedim(1, -1).flatten(0, 2)
    wanted = F.avg_pool2d(pictures, 8).double()[..., 1:-1, 1:-1].movedim(1, -1).flatten(0, 2)
    half = len(rows) // 2
    linear = torch.linalg.lstsq(rows[:half], wanted[:half]).solution
    missed = (rows[half:] @ linear - wanted[half:]).square().mean()
    return float(missed / wanted[half:].var())


def test_every_residual_branch_begins_with_zeros():
    unet = initial_model(TINY).unet
    ends = {
        name: module
        for name, module in unet.named_modules()
        if name.endswith(("res_block.conv2", "proj_out", "conv_out"))
    }
    # Down: 1 block a level; middle: 2; up: 2 a level; each in space and in time; attention beside.
    assert len(ends) == 2 * 8 + 4 + 1
    assert all((end.weight == 0).all() and (end.bias == 0).all() for end in ends.values())


def test_a_new_model_predicts_nothing_yet():
    model = initial_model(TINY).eval()
    latents = torch.randn(1, 3, model.unet.config.in_channels, 8, 8)
    with torch.no_grad():
        found = model(
            latents, torch.zeros(1), torch.randn(1, 1, 16), torch.tensor([[6.0, 127.0, 0.02]])
        )
    assert (found == 0).all()


def test_a_new_adapter_shows_its_picture_in_a_linear_way():
    torch.manual_seed(0)
    started = initial_model(TINY).adapters["reference"]
    assert unexplained(started) < 0.1 * unexplained(Adapter(32))


def test_the_same_seed_gives_the_same_start():
    one, other = initial_model(TINY, seed=3).state_dict(), initial_model(TINY, seed=3).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
