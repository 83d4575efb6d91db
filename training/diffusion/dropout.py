"""Which conditions a training sample is shown: what guidance needs, the network must have seen.

Pure functions of uniform random numbers, for one sample each: a batch may hold any mixture.
"""

from collections.abc import Sequence

from training.diffusion.branches import BARE, FULL, POSED, UNLIT, Branch
from training.recipe.tables import ConditionsTable

UNIFORMS = 5
"""Random numbers in [0, 1) that a sample takes, whatever the scheme."""


def trained_branch(uniforms: Sequence[float], table: ConditionsTable) -> Branch:
    """The conditions that a sample keeps.

    Args:
        uniforms: `UNIFORMS` numbers in [0, 1), which decide.
        table: The scheme, and the shares of the branches.
    """
    if len(uniforms) != UNIFORMS:
        raise ValueError(f"{len(uniforms)} uniforms: a sample takes {UNIFORMS}")
    if table.scheme == "branches":
        return shared_branch(uniforms[0], table)
    token, ground = paper_kept(uniforms[0])
    landmarks, shading, reference = paper_kept_adapters(*uniforms[1:])
    return Branch(shading, landmarks, reference, token, ground)


def shared_branch(uniform: float, table: ConditionsTable) -> Branch:
    """One of the branches of sampling, each as often as its share says."""
    shares = ((FULL, table.full), (UNLIT, table.unlit), (BARE, table.bare), (POSED, table.posed))
    drawn = [branch for branch, share in shares if share > 0]
    edge = 0.0
    for branch, share in shares:
        edge += share
        if uniform < edge:
            return branch
    return drawn[-1]  # the shares' sum may be rounded to a little less than 1


def paper_kept(uniform: float, share: float = 0.1) -> tuple[bool, bool]:
    """Whether LCVD's code keeps the token and the ground.

    One number decides of both, so that with ``share`` 0.1 each is dropped alone in a tenth of the
    steps, both in another, and neither in the rest.
    """
    return uniform >= 2 * share, not share <= uniform < 3 * share


def paper_kept_adapters(
    landmarks: float, shading: float, reference: float, all_of_them: float
) -> tuple[bool, bool, bool]:
    """Whether LCVD's code keeps the landmarks, the shading and the reference, in this order.

    Each number decides of one, each half of the time; but the fourth of them all together, for
    all in a tenth of the steps, and against all in another.
    """
    if all_of_them < 0.1:
        return False, False, False
    if all_of_them > 0.9:
        return True, True, True
    return landmarks > 0.5, shading > 0.5, reference > 0.5
