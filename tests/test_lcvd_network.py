"""LCVD as sampling uses it: all branches in one pass, each adapter as seldom as can be."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stages.models.nets import one_thread
from tests.rule import golden_arrays, rule_state
from training.diffusion.branches import BARE, FULL, UNLIT, Branch, guidance
from training.diffusion.network import LcvdNetwork
from training.diffusion.sample import sample
from training.model.lcvd import Lcvd
from training.model.shortcuts import Shortcuts
from training.recipe.tables import ModelTable, Stream

TABLE = ModelTable(
    start="random",
    adapters=("shading", "reference"),
    channels=(32, 64),
    heads=(2, 4),
    layers=1,
    token="colours",
    token_width=32,
)
SIZE, CHANNELS, GRID, WINDOW = 64, 4, 8, 4
BRANCHES = (FULL, UNLIT, BARE)


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def lcvd() -> Lcvd:
    """The goldens' tiny UNet with two adapters, under the rule's weights."""
    lcvd = Lcvd.build(TABLE)
    lcvd.unet.load_state_dict(rule_state(lcvd.unet.state_dict()))
    for adapter in lcvd.adapters.values():
        state = rule_state(adapter.state_dict())
        adapter.load_state_dict(state | {"scale": torch.full((1,), 2.0)})
    return lcvd.eval().requires_grad_(False)


class Video:
    """Conditions of a video, and a note of what is asked for."""

    def __init__(self, frames: int = 12) -> None:
        random = torch.Generator().manual_seed(0)
        self.shading = torch.rand(frames, 3, SIZE, SIZE, generator=random)
        self.reference = 2 * torch.rand(3, SIZE, SIZE, generator=random) - 1
        self.ground = torch.randn(CHANNELS, GRID, GRID, generator=random)
        self.token = torch.randn(1, 32, generator=random)
        self.time_ids = torch.tensor([6, 127, 0.02])
        self.noise = torch.randn(frames, CHANNELS, GRID, GRID, generator=random)
        self.asked: list[list[int]] = []

    def conditions(self, frames: Sequence[int]) -> Mapping[Stream, Tensor]:
        self.asked.append(list(frames))
        return {"shading": self.shading[list(frames)]}

    def network(self, lcvd: Lcvd, keep_bytes: int = 2**20) -> LcvdNetwork:
        return LcvdNetwork(
            lcvd,
            ground=self.ground,
            token=self.token,
            reference=self.reference,
            conditions=self.conditions,
            time_ids=self.time_ids,
            keep_bytes=keep_bytes,
        )


@pytest.fixture
def video() -> Video:
    return Video()


@pytest.fixture
def shown(lcvd: Lcvd) -> Iterator[Counter[str]]:
    """How many pictures each adapter is shown."""
    counts: Counter[str] = Counter()

    def count(stream: str) -> object:
        def hook(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            counts[stream] += len(given[0])

        return lcvd.adapters[stream].register_forward_hook(hook)

    hooks = [count(stream) for stream in lcvd.adapters]
    yield counts
    for hook in hooks:
        hook.remove()  # type: ignore[attr-defined]


class Counted(TorchFunctionMode):
    """How often each of torch's functions is called within."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names[func.__name__] += 1
        return func(*args, **(kwargs or {}))


def drawn(network: LcvdNetwork, frames: int, **options: int) -> Tensor:
    return sample(
        network,
        frames=frames,
        shape=(CHANNELS, GRID, GRID),
        guidance=guidance("branches", light=2, identity=3),
        steps=2,
        window=WINDOW,
        overlap=2,
        **options,
    )


def test_the_shorter_ways_through_the_unet_lead_to_the_same_place(lcvd: Lcvd) -> None:
    """The goldens' UNet on its inputs, two samples with a token each: 2e-5, as for the UNet."""
    golden = {name: torch.from_numpy(each) for name, each in golden_arrays("unet_tiny").items()}
    of = [f"in_{name}" for name in ("sample", "timestep", "encoder_hidden_states")]
    features = golden["in_light_latents"] + golden["in_ref_latents"]
    with Shortcuts(lcvd.unet).used(2):
        found = lcvd(
            *(golden[name] for name in of),
            golden["in_added_time_ids"],
            features.unflatten(0, (2, -1)),
        )
    np.testing.assert_allclose(found, golden["out_light_ref"], atol=2e-5)


def test_the_shorter_ways_spare_attention_and_are_left_again(lcvd: Lcvd) -> None:
    def operations() -> Counter[str]:
        given = torch.zeros(1, 2, 2 * CHANNELS, GRID, GRID)
        with Counted() as counted:
            lcvd(given, torch.zeros(1), torch.ones(1, 1, 32), torch.zeros(1, 3))
        return counted.names

    before = operations()
    with Shortcuts(lcvd.unet).used(1):
        shorter = operations()
    assert shorter["scaled_dot_product_attention"] == before["scaled_dot_product_attention"] / 2
    assert before["conv3d"] > 0
    assert shorter["conv3d"] == 0
    assert operations() == before


def test_each_branch_is_what_training_makes_of_the_conditions_it_keeps(
    lcvd: Lcvd, video: Video
) -> None:
    windows = [[0, 1, 2, 3], [0, 5, 6, 7]]
    latents = video.noise[torch.tensor(windows)]
    found = video.network(lcvd)(latents, 0.3, windows, BRANCHES)
    assert found.shape == (3, 2, WINDOW, CHANNELS, GRID, GRID)
    for branch, of_branch in zip(BRANCHES, found, strict=True):
        for given, frames, prediction in zip(latents, windows, of_branch, strict=True):
            wanted = as_trained(lcvd, video, given, frames, branch)
            torch.testing.assert_close(prediction, wanted, rtol=0, atol=2e-5)


def as_trained(
    lcvd: Lcvd, video: Video, latents: Tensor, frames: list[int], branch: Branch
) -> Tensor:
    """The prediction for one window, by the call that training makes."""
    ground = (video.ground * branch.ground).expand_as(latents)
    pictures: dict[Stream, Tensor] = {
        "shading": video.shading[frames][None],
        "reference": video.reference[None, None],
    }
    prediction: Tensor = lcvd(
        torch.cat([latents, ground], dim=1)[None],
        torch.tensor([0.3]),
        video.token[None] * branch.token,
        video.time_ids[None],
        pictures=pictures,
        keep={stream: torch.tensor([float(stream in branch.streams)]) for stream in pictures},
    )
    return prediction[0]


def test_the_reference_is_looked_at_once_a_video_and_every_frame_once(
    lcvd: Lcvd, video: Video, shown: Counter[str]
) -> None:
    drawn(video.network(lcvd), frames=11)
    assert shown == {"reference": 1, "shading": 12}


def test_what_there_is_no_room_for_is_looked_at_anew(
    lcvd: Lcvd, video: Video, shown: Counter[str]
) -> None:
    kept = drawn(video.network(lcvd), frames=11)
    shown.clear()
    one_frame = 32 * GRID * GRID * 4
    anew = drawn(video.network(lcvd, keep_bytes=3 * one_frame), frames=11)
    torch.testing.assert_close(anew, kept, rtol=1e-4, atol=1e-4)
    # Windows 0-3, 0 3-5, 0 5-7, 0 7-9, 0 9-11, twice; frames 0, 1, 2 are kept.
    assert shown == {"reference": 1, "shading": 3 + 2 * 13}


def test_pictures_are_asked_for_a_window_at_a_time(lcvd: Lcvd, video: Video) -> None:
    drawn(video.network(lcvd, keep_bytes=0), frames=11)
    assert max(map(len, video.asked)) == WINDOW


def test_branches_without_pictures_ask_for_none(
    lcvd: Lcvd, video: Video, shown: Counter[str]
) -> None:
    video.network(lcvd)(video.noise[None, :4], 0.3, [[0, 1, 2, 3]], [BARE])
    assert not video.asked
    assert not shown


def test_several_windows_in_one_pass_give_what_they_give_one_by_one(
    lcvd: Lcvd, video: Video
) -> None:
    alone = drawn(video.network(lcvd), frames=9)
    together = drawn(video.network(lcvd), frames=9, windows_at_once=3)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
