"""The deterministic rule under which the goldens' networks were run (see their READMEs).

Weights are a function of their names, inputs one of the fixture's name: so a network that has
the reference's keys and shapes must give the reference's numbers.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
"""Copies of those fixtures that are made of synthetic inputs alone."""


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def golden_facts(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def generator(key: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=zlib.crc32(key.encode())))


def rule_weight(name: str, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """The tensor that the rule gives an entry of a state dict."""
    if "int" in dtype:
        return np.zeros(shape, np.int64)
    x = generator(name).standard_normal(shape)
    if name.endswith("running_var"):
        x = 1 + 0.1 * np.abs(x)
    elif name.endswith("running_mean"):
        x = 0.1 * x
    elif len(shape) >= 2:
        x = x / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("weight"):
        x = 1 + 0.1 * x
    else:
        x = 0.1 * x
    return x.astype(np.float32)


def rule_state(state: Mapping[str, Any], keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """The rule's tensors for every entry of a torch state dict.

    Entries whose name ends with one of ``keep`` (index buffers) stay as they were computed.
    """
    import torch

    return {
        name: tensor
        if name.endswith(keep)
        else torch.from_numpy(
            rule_weight(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        ).to(tensor.dtype)
        for name, tensor in state.items()
    }


def blocks(
    rng: np.random.Generator, low: int, high: int, size: tuple[int, ...], by: tuple[int, ...]
) -> np.ndarray:
    """Random blocks: ``size`` draws in low..high-1, each repeated ``by`` times along each axis."""
    drawn = rng.integers(low, high, size, dtype=np.uint8)
    for axis, times in enumerate(by):
        drawn = drawn.repeat(times, axis=axis)
    return drawn


def pattern(modulus: int, shape: tuple[int, ...]) -> np.ndarray:
    """``P_M`` of the READMEs: (3y + 5x + 7t + 11c) mod M over (T, H, W, C) or (H, W, C)."""
    *time, y, x, c = np.ogrid[tuple(slice(length) for length in shape)]
    return ((3 * y + 5 * x + 11 * c + (7 * time[0] if time else 0)) % modulus).astype(np.uint8)
