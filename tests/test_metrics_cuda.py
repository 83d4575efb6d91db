"""Networks that metrics look with, on a GPU against themselves on the processor.

In float32 they agree to 1e-4 of the largest number, as `evaluation.metrics.base.Extractor` says.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from evaluation.models import i3d, inception_input, liqe, lpips, random_features, videomae
from stages.models.nets import ready_net
from tests.rule import blocks, generator, rule_state

WITHIN = 1e-4

FRAMES = blocks(generator("input:metrics on a gpu"), 0, 256, (2, 16, 16, 3), (1, 16, 16, 1))
CLIPS = blocks(generator("input:metrics on a gpu"), 0, 256, (1, 16, 8, 8, 3), (1, 1, 8, 8, 1))

NETWORKS: dict[str, tuple[Callable[[], Any], np.ndarray]] = {
    "fid": (lambda: inception_input.PictureFeatures("pytorch-fid"), FRAMES),
    "clean fid": (lambda: inception_input.PictureFeatures("clean-fid"), FRAMES),
    "fvd": (i3d.ClipLogits, CLIPS),
    "content-debiased fvd": (videomae.load_clip_features, CLIPS),
    "lpips": (lambda: lpips.LpipsCoder("alex"), FRAMES),
    "liqe": (lambda: liqe_embeddings, FRAMES),
    "random pictures": (random_features.RandomPictures, FRAMES),
    "random clips": (random_features.RandomClips, CLIPS),
    "random codes": (random_features.RandomCoder, FRAMES),
}


@pytest.mark.cuda
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_metrics_find_alike(gpu, name):
    exact, found = (looked(name, device) for device in (torch.device("cpu"), gpu))
    assert np.ptp(exact) > 0
    np.testing.assert_allclose(found, exact, rtol=0, atol=WITHIN * np.abs(exact).max())


def looked(name: str, device: torch.device) -> np.ndarray:
    """What a network finds on a device; one that loads weights has the rule's."""
    make, shown = NETWORKS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(videomae, "VideoMae", partial(videomae.VideoMae, 352, 4, 4, 1536))
        for module in (i3d, inception_input, liqe, lpips, videomae):
            patch.setattr(module, "load_state", lambda weight: {})
            patch.setattr(module, "ready_net", partial(ready_by_rule, device))
        patch.setattr(random_features, "ready_net", partial(ready_net, device=device))
        return make()(shown)


def liqe_embeddings(frames: np.ndarray) -> np.ndarray:
    """What LIQE compares with its sentences: under the rule, its scores hardly differ."""
    clip = liqe.load_liqe()._clip
    crops = torch.from_numpy(frames[:, :224, :224]).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        return clip.pictures(crops.to(clip.logit_scale.device)).cpu().numpy()


def ready_by_rule(device: torch.device, net: nn.Module, state: Any, *, name: str) -> nn.Module:
    own = net.state_dict()
    filled = {key: torch.tensor(2).to(each) for key, each in own.items() if not each.ndim}
    filled |= rule_state({key: each for key, each in own.items() if each.ndim})
    # LPIPS's heads are squares.
    filled |= {key: each.abs() for key, each in filled.items() if key.endswith("model.1.weight")}
    return ready_net(net, filled, name=name, device=device)
