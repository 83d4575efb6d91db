"""A checkpoint's parameters as one state dict, read tensor by tensor."""

import math
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from infra.errors import LakeError
from training.checkpoint.fragments import EMA, VALUE
from training.checkpoint.stored import StoredCheckpoint


class FullState(Mapping[str, Tensor]):
    """A state dict, float32, on the CPU: a tensor is read when it is taken, and not kept.

    Args:
        checkpoint: Where from.
        what: `EMA`, the moving averages; `VALUE`, the master weights themselves.

    Raises:
        LakeError: The checkpoint has none of these.
    """

    def __init__(self, checkpoint: StoredCheckpoint, what: str = EMA) -> None:
        self._checkpoint, self._what = checkpoint, what
        self._names = checkpoint.names(what)
        if not self._names:
            kept = ", ".join(sorted(checkpoint.kept()))
            raise LakeError(
                f"{checkpoint.path} holds no {what!r}; it holds {kept}",
                hint=f"take {VALUE!r}: this run kept no moving average" if what == EMA else "",
            )

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        shape = self._checkpoint.shape(name)
        return self._checkpoint.read(name, self._what, 0, math.prod(shape)).view(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def full_state(checkpoint: StoredCheckpoint, what: str = EMA) -> FullState:
    """All parameters of a checkpoint; see `FullState`."""
    return FullState(checkpoint, what)


def load_parameters(module: nn.Module, checkpoint: StoredCheckpoint, what: str = EMA) -> None:
    """Put a checkpoint's parameters into a module, one by one: no second copy of all.

    Args:
        module: Whose parameters have the names that were saved.
        checkpoint: Where from.
        what: See `FullState`.

    Raises:
        LakeError: Names or shapes differ.
    """
    state = FullState(checkpoint, what)
    parameters = dict(module.named_parameters())
    if odd := sorted(state.keys() ^ parameters.keys()):
        where = "module" if odd[0] in parameters else "checkpoint"
        raise LakeError(
            f"{checkpoint.path} is of another network: {odd[0]} is in the {where} alone",
            hint="build the network by the recipe that the checkpoint was saved with",
        )
    for name, parameter in parameters.items():
        if tuple(parameter.shape) != checkpoint.shape(name):
            raise LakeError(
                f"{checkpoint.path} is of another network: {name} is {checkpoint.shape(name)}"
                f" there, {tuple(parameter.shape)} here",
                hint="build the network by the recipe that the checkpoint was saved with",
            )
        parameter.data.copy_(state[name])
