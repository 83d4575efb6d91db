"""Branches, which are sets of conditions, and classifier-free guidance among them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from training.recipe.tables import Stream

Scheme = Literal["branches", "paper"]
"""Whose branches: ours, or those of LCVD's released code."""

Driving = Literal["shading", "landmarks"]
"""The stream that says how the head moves."""


@dataclass(frozen=True)
class Branch:
    """The conditions that a pass of the network sees.

    Attributes:
        shading: The shading render, through its adapter.
        landmarks: The keypoint map, through its adapter.
        reference: The reference's picture, through its adapter.
        token: The reference's token, in cross-attention; else it is zeros.
        ground: The latent of the reference around the portrait; else it is zeros.
    """

    shading: bool = False
    landmarks: bool = False
    reference: bool = False
    token: bool = False
    ground: bool = False

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Those whose adapter is heard."""
        return tuple(stream for stream in get_args(Stream) if getattr(self, stream))


FULL = Branch(shading=True, reference=True, token=True, ground=True)
"""All that relighting goes by."""
UNLIT = Branch(reference=True, token=True, ground=True)
"""Who is seen, and where; not under which light."""
BARE = Branch(ground=True)
"""Where somebody is to be seen."""
POSED = Branch(landmarks=True, reference=True, token=True, ground=True)
"""Landmarks in the place of the shading."""

PAPER_LIT = FULL
"""LCVD's first branch of relighting."""
PAPER_UNLIT = Branch(reference=True, ground=True)
"""LCVD's second, without the token: guidance by the light moves the identity, too."""
PAPER_POSED = POSED
"""LCVD's first branch of animation by landmarks."""
PAPER_NONE = Branch(ground=True)
"""LCVD's second."""

Guidance = tuple[tuple[Branch, float], ...]
"""What is summed: the predictions under each branch, by its weight. The weights sum to 1."""


def guidance(
    scheme: Scheme, light: float = 4.5, identity: float = 1.0, driving: Driving = "shading"
) -> Guidance:
    """The branches that sampling asks for, and their weights; those of weight 0 are left out.

    Ours (as Brooks et al. 2023, equation 3, guide by a picture and a text) has two steps, each
    with a weight of its own: ``bare + identity (unlit - bare) + light (full - unlit)``. With
    ``identity`` 1 that is two branches, and with ``light`` 1 too it is one. LCVD's (equation 6) is
    ``unlit + light (lit - unlit)``.

    Args:
        scheme: Which branches the model was trained on.
        light: Weight of what the driving stream tells, of the light above all.
        identity: Weight of what the reference tells.
        driving: The driving stream.

    Raises:
        ValueError: LCVD's scheme has one weight only, and an ``identity`` other than 1 is asked.
    """
    if scheme == "branches":
        driven = FULL if driving == "shading" else POSED
        return ladder((BARE, 1.0), (UNLIT, identity), (driven, light))
    if identity != 1:
        raise ValueError(f"identity = {identity:g}: the scheme `paper` knows no other than 1")
    if driving == "shading":
        return ladder((PAPER_UNLIT, 1.0), (PAPER_LIT, light))
    return ladder((PAPER_NONE, 1.0), (PAPER_POSED, light))


def ladder(*rungs: tuple[Branch, float]) -> Guidance:
    """The sum over rungs of ``weight * (rung - the rung below)``; below the lowest is nothing.

    The lowest rung's weight must be 1, lest the sum's weights do not add up to 1.
    """
    return tuple(_steps(rungs))


def _steps(rungs: tuple[tuple[Branch, float], ...]) -> Iterator[tuple[Branch, float]]:
    following = (*(weight for _, weight in rungs[1:]), 0.0)
    for (branch, weight), above in zip(rungs, following, strict=True):
        if weight != above:
            yield branch, weight - above
