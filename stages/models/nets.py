"""Torch networks: where they run, and how their weights come in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from infra.errors import WeightsError
from infra.weights import weight_path

Precision = Literal["float32", "float16", "bfloat16"]
"""Number format of a network's weights and arithmetic; results differ in the last digits."""

N = TypeVar("N", bound=nn.Module)


def best_device() -> torch.device:
    """The GPU that this process may use, otherwise the processor.

    A build's worker is shown the GPUs that its stages asked for (``[engine.resources.<stage>]``)
    and no others, so that this is all a model has to ask.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread of the processor within.

    The parallelism of a build is over clips; and sums keep their order, so that a result does
    not depend on the machine's number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load_state(weight: str) -> dict[str, torch.Tensor]:
    """Tensors of a weight of the registry, which is a safetensors file by now.

    Raises:
        WeightsError: It is not here, or no such file.
    """
    path = weight_path(weight)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(
            f"the weight {weight} at {path} is no safetensors file: {error}",
            hint=f"pull it again: limelight weights pull {weight}",
        ) from error


def precision_on(device: torch.device, dtype: torch.dtype) -> Precision:
    """Number format for a network that is not trained: on a processor the half ones are slow."""
    half: dict[torch.dtype, Precision] = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
    return "float32" if device.type == "cpu" else half.get(dtype, "float32")


def check_state(net: nn.Module, state: Mapping[str, torch.Tensor], *, name: str) -> None:
    """Make sure that weights have exactly a network's keys and shapes.

    Args:
        net: The network; it may lie on the device ``meta``.
        state: The weights.
        name: What to call them in an error.

    Raises:
        WeightsError: They are those of another architecture.
    """
    own = net.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    for words, keys in (
        ("lacks", missing),
        ("also holds", unexpected),
        ("has other shapes for", shapes),
    ):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise WeightsError(
                f"{name} is no {type(net).__name__}: it {words} {', '.join(keys[:3])}{more}",
                hint="see `limelight weights list` for the file that is meant",
            )


def ready_net(
    net: N,
    state: Mapping[str, torch.Tensor],
    *,
    name: str,
    device: torch.device | None = None,
    precision: Precision = "float32",
) -> N:
    """Fill a network with weights, strictly, and make it ready for inference.

    Args:
        net: The network.
        state: Its weights; keys and shapes must be exactly its own.
        name: What to call the weights in an error.
        device: Where it shall run; `best_device` without.
        precision: Of weights and arithmetic.

    Raises:
        WeightsError: The weights are those of another architecture.
    """
    check_state(net, state, name=name)
    # Otherwise convolutions in float32 are rounded to ten bits on a GPU, in silence.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    net.load_state_dict(state, strict=True)
    net.eval().requires_grad_(False)
    return net.to(device or best_device(), getattr(torch, precision))
