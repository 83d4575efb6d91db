"""The optimizers of a recipe, and how they keep their states."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from infra.errors import UsageError
from training.recipe.tables import OptimizerTable

BLOCK = 256
"""Elements that share a scale in bitsandbytes' 8-bit states."""

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's two moments, by PyTorch's names, whichever optimizer keeps them."""


def make_optimizer(
    parameters: Iterable[nn.Parameter], table: OptimizerTable, device: torch.device
) -> torch.optim.Optimizer:
    """AdamW as a recipe asks for it.

    On a GPU PyTorch's is fused: else its temporaries would take as much memory as its states.

    Raises:
        UsageError: bitsandbytes is asked for, and not installed.
    """
    common: dict[str, Any] = {
        "lr": table.rate,
        "betas": table.betas,
        "eps": table.epsilon,
        "weight_decay": table.weight_decay,
    }
    if table.name == "adamw":
        return torch.optim.AdamW(parameters, fused=device.type == "cuda", **common)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UsageError(
            'optimizer.name = "adamw8bit" needs bitsandbytes, which is not installed',
            hint='pip install bitsandbytes, or use optimizer.name = "adamw"',
        ) from error
    return AdamW8bit(parameters, **common)


def prepare_state(optimizer: torch.optim.Optimizer, master: Tensor) -> dict[str, Any]:
    """The optimizer's state of one tensor, made now instead of at its first step.

    So memory that does not suffice shows at the start, and a checkpoint always has all states.
    """
    state = optimizer.state[master]
    if not state:
        if isinstance(optimizer, torch.optim.AdamW):
            fused = optimizer.defaults["fused"]
            state["step"] = torch.zeros((), device=master.device if fused else None)
            for moment in MOMENTS:
                state[moment] = torch.zeros_like(master, requires_grad=False)
        else:
            group = optimizer.param_groups[0]
            # ZeRO 3 empties the group between steps; bitsandbytes looks the tensor up in it.
            kept, group["params"] = group["params"], [master]
            optimizer.init_state(group, master, 0, 0)  # type: ignore[attr-defined]
            group["params"] = kept
    return state


def updates_of(state: dict[str, Any]) -> int:
    """Steps that a state has seen, which Adam's bias correction counts."""
    return int(state["step"])


def set_updates(state: dict[str, Any], updates: int) -> None:
    """Set that count."""
    if isinstance(state["step"], Tensor):
        state["step"].fill_(updates)
    else:
        state["step"] = updates


def moment(state: dict[str, Any], name: str) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """One of `MOMENTS` as the optimizer keeps it: flat views.

    Returns:
        Numbers, None, None; or 8-bit codes, their blocks' scales and the map of codes. bitsandbytes
        keeps tensors of less than 4096 elements as numbers.
    """
    if name in state:
        return state[name].view(-1), None, None
    place = MOMENTS.index(name) + 1
    kept = state[f"state{place}"].view(-1)
    if kept.dtype != torch.uint8:
        return kept, None, None
    return kept, state[f"absmax{place}"], state[f"qmap{place}"]
