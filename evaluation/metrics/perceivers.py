"""Networks that compare pictures: LPIPS's own, and the one that stands in for them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.metrics.base import Grade
from stages.models.offer import Offer

CoderName = Literal["alex", "vgg", "random"]


@dataclass(frozen=True)
class Perceiver:
    """A network that compares pictures.

    Attributes:
        name: Its key.
        offer: How it is loaded.
        arguments: What it is made with.
        estimator: What it is, in a few words.
        metric: The metrics' names begin so.
        title: Their titles too.
        grade: LPIPS is the standard.
        most: Upper bound of its distances.
    """

    name: CoderName
    offer: Offer
    arguments: tuple[str, ...]
    estimator: str
    metric: str
    title: str
    grade: Grade
    most: float


_LPIPS = "evaluation.models.lpips:LpipsCoder"
_PACKAGES = ("torch", "safetensors")

PERCEIVERS: dict[CoderName, Perceiver] = {
    "alex": Perceiver(
        name="alex",
        offer=Offer(_LPIPS, ("alexnet", "lpips_alex_heads"), _PACKAGES),
        arguments=("alex",),
        estimator="LPIPS 0.1 on AlexNet",
        metric="lpips",
        title="LPIPS",
        grade="standard",
        most=np.inf,
    ),
    "vgg": Perceiver(
        name="vgg",
        offer=Offer(_LPIPS, ("vgg16", "lpips_vgg_heads"), _PACKAGES),
        arguments=("vgg",),
        estimator="LPIPS 0.1 on VGG-16",
        metric="lpips_vgg",
        title="LPIPS (VGG)",
        grade="standard",
        most=np.inf,
    ),
    "random": Perceiver(
        name="random",
        offer=Offer("evaluation.models.random_features:RandomCoder", (), _PACKAGES),
        arguments=(),
        estimator="cosines of a random network's features",
        metric="random_perceptual",
        title="LPIPS (random)",
        grade="embedded",
        most=1.0,
    ),
}
"""Networks by name. AlexNet is the LPIPS package's own choice; the paper names none."""
