"""Our sampler beside the order of work of LCVD's: seconds for 37 frames, by a tiny UNet.

    python benchmarks/sampler.py [--steps 10] [--rounds 5] [--sizes 64 128]

Both sample the same noise under the same conditions with a UNet of the goldens' size, random
weights, in the same four windows of 16 that share 6, guided by the light, in fp32, on as many
threads as torch takes, which wait as the commands' do; the latents that come out agree. LCVD's
order of work is that of `parts.lcvd_order`; ours is `training.diffusion.sample`, with as many
windows a pass as relighting takes. Neither encodes, decodes or draws.

Two sizes of pictures. At 64 pixels (latents of 8x8, as in the sampler's goldens) a pass costs much
for being begun, operation by operation, as it does on a GPU that one sample cannot fill: there it
pays to batch. At 128 (16x16) the arithmetic weighs more, and that is the same for both but for the
adapters and what `training.model.shortcuts` spares.

Prints one JSON line, and keeps it in benchmarks/results/sampler.json; the best of the rounds, in
which the two take turns, for each size:

- ``lcvd_seconds_64``, ``seconds_64``: of LCVD's order of work, and of ours;
- ``ratio_64``: the first by the second;
- ``difference_64``: the largest difference of their latents, in standard deviations of these;
- ``passes_64``: of the network, over all steps: LCVD's, ours;
- ``adapter_pictures``: how many pictures the adapters see: LCVD's, ours.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence

import parts.own_threads  # noqa: F401 - before torch, which reads the environment once
import torch
from parts.lcvd_order import LcvdOrder, Video
from parts.results import keep
from parts.timing import best_seconds
from torch import Tensor, nn

from training.diffusion.branches import guidance
from training.diffusion.network import LcvdNetwork
from training.diffusion.sample import sample
from training.model.adapters import Adapter
from training.model.lcvd import Lcvd
from training.recipe.tables import ModelTable, Stream
from training.relight.generate import windows_at_once

FRAMES = 37
LIGHT, SIGMA_MAX = 2.0, 80.0
TINY = ModelTable(start="random", channels=(32, 64), heads=(2, 4), layers=1, token_width=32)
"""The sizes of the goldens' UNet."""


def random_video(size: int, channels: int, token: int) -> Video:
    """Conditions and noise of the right shapes."""
    grid = size // 8
    return Video(
        shading=torch.rand(FRAMES, 3, size, size),
        reference=2 * torch.rand(3, size, size) - 1,
        ground=torch.randn(channels, grid, grid),
        token=torch.randn(1, token),
        time_ids=torch.tensor([6, 127, 0.02]),
        noise=torch.randn(FRAMES, channels, grid, grid),
    )


def our_latents(lcvd: Lcvd, video: Video, steps: int) -> Tensor:
    """In our order of work."""

    def conditions(frames: Sequence[int]) -> Mapping[Stream, Tensor]:
        return {"shading": video.shading[list(frames)]}

    network = LcvdNetwork(
        lcvd,
        ground=video.ground,
        token=video.token,
        reference=video.reference,
        conditions=conditions,
        time_ids=video.time_ids,
    )
    _, *shape = video.noise.shape
    return sample(
        network,
        frames=FRAMES - 1,
        shape=(shape[0], shape[1], shape[2]),
        guidance=guidance("paper", LIGHT),
        steps=steps,
        sigma_max=SIGMA_MAX,
        noise=video.noise,
        windows_at_once=windows_at_once(video.noise.device, shape[1]),
    )


def work_of(lcvd: Lcvd, run: Callable[[], Tensor]) -> tuple[Tensor, int, int]:
    """What a run gives, how many pictures its adapters see, and its passes of the UNet."""
    pictures, passes = 0, 0

    def seen(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal pictures
        pictures += len(given[0])

    def passed(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal passes
        passes += 1

    hooks = [adapter.register_forward_pre_hook(seen) for adapter in lcvd.adapters.values()]
    hooks.append(lcvd.unet.register_forward_pre_hook(passed))
    latents = run()
    for hook in hooks:
        hook.remove()
    return latents, pictures, passes


def main() -> None:
    """Time both, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    options = parser.parse_args()
    torch.manual_seed(0)
    lcvd = Lcvd.build(TINY).eval().requires_grad_(False)
    for adapter in lcvd.adapters.values():
        assert isinstance(adapter, Adapter)
        nn.init.normal_(adapter.final_proj.weight, std=0.1)  # new adapters give zeros
    result: dict[str, object] = {
        "benchmark": "sampler",
        "frames": FRAMES,
        "steps": options.steps,
        "threads": torch.get_num_threads(),
    }
    for size in options.sizes:
        video = random_video(size, lcvd.unet.config.out_channels, TINY.token_width)
        order = LcvdOrder(lcvd, video)

        def theirs(order: LcvdOrder = order) -> Tensor:
            return order(options.steps, SIGMA_MAX, LIGHT)

        def ours(video: Video = video) -> Tensor:
            return our_latents(lcvd, video, options.steps)

        wanted, their_pictures, their_passes = work_of(lcvd, theirs)
        found, our_pictures, our_passes = work_of(lcvd, ours)
        their_s, our_s = best_seconds(options.rounds, theirs, ours)
        result |= {
            f"lcvd_seconds_{size}": round(their_s, 2),
            f"seconds_{size}": round(our_s, 2),
            f"ratio_{size}": round(their_s / our_s, 2),
            f"difference_{size}": float(f"{((found - wanted).abs().max() / wanted.std()):.1e}"),
            f"passes_{size}": [their_passes, our_passes],
            "adapter_pictures": [their_pictures, our_pictures],
        }
    keep(result)


if __name__ == "__main__":
    main()
