"""States of the random generators that a rank draws from, as tensors: no pickle."""

import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def seed_random(seed: int, rank: int, step: int) -> None:
    """Seed PyTorch, NumPy and Python by arithmetic: where there is no state to go on from.

    Args:
        seed: Of the run.
        rank: Whose generators.
        step: Where the run begins.
    """
    words = np.random.SeedSequence([seed, rank, step]).generate_state(3)
    torch.manual_seed(int(words[0]))
    np.random.seed(int(words[1]))
    random.seed(int(words[2]))


def capture_random() -> dict[str, Tensor]:
    """States of PyTorch's generators (CPU and the current GPU), NumPy's and Python's."""
    numpy = np.random.get_state(legacy=False)
    _, words, gauss = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor(
            [*numpy["state"]["key"].tolist(), numpy["state"]["pos"], numpy["has_gauss"]]
        ),
        "numpy.gauss": torch.tensor([numpy["gauss"]], dtype=torch.float64),
        "python": torch.tensor([*words, gauss is not None]),
        "python.gauss": torch.tensor([gauss or 0.0], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random(states: Mapping[str, Tensor]) -> None:
    """Put the generators where `capture_random` found them."""
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    *key, place, spare = states["numpy"].tolist()
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": np.array(key, np.uint32), "pos": place},
            "has_gauss": spare,
            "gauss": states["numpy.gauss"].item(),
        }
    )
    *words, kept = states["python"].tolist()
    gauss = states["python.gauss"].item() if kept else None
    random.setstate((3, tuple(words), gauss))
