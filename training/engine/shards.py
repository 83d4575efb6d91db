"""What of a model this rank moves: its fp32 master copies, and where they lie in the parameters.

DeepSpeed 0.19.8 keeps them in a way of its own at each stage; this module knows where, and nothing
else does. Private names of DeepSpeed's are looked up here and in `training.engine.recovery` alone.

    stage 0, fp32    the parameters themselves
    stages 1, 2      one flat tensor: a part of all parameters, one after another, cut evenly
    stage 1, bf16    the same, by another class (``BF16_Optimizer``)
    stage 3          flat tensors: a part of every parameter, one after another
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infra.errors import EngineError


@dataclass(frozen=True)
class Span:
    """Where a run of a parameter's elements lies in a master copy.

    Attributes:
        name: Of the parameter.
        shape: Of the whole parameter.
        start: First element, in the flattened parameter.
        length: Elements.
        offset: First element, in the master copy.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    length: int
    offset: int


@dataclass(frozen=True)
class Shard:
    """A master copy of this rank's.

    Attributes:
        key: The tensor that the optimizer moves, and keeps a state of.
        spans: What of it are parameters; the rest is padding.
    """

    key: Tensor
    spans: tuple[Span, ...]

    @property
    def master(self) -> Tensor:
        """Its numbers, float32 (n,)."""
        return self.key.detach().view(-1)


def shards_of(engine: Any, stage: int) -> tuple[Shard, ...]:
    """This rank's master copies.

    Args:
        engine: DeepSpeed's.
        stage: ZeRO stage that it runs.

    Raises:
        EngineError: This version of DeepSpeed keeps them elsewhere.
    """
    names = {id(param): name for name, param in engine.module.named_parameters()}
    optimizer = engine.optimizer
    try:
        if stage == 0:
            return tuple(_whole(names, p) for p in engine.module.parameters() if p.requires_grad)
        if stage == 3:
            rank = torch.distributed.get_rank()
            groups = zip(
                optimizer.fp16_partitioned_groups_flat,
                optimizer.fp32_partitioned_groups_flat,
                optimizer.fp16_groups,
                strict=True,
            )
            return tuple(_scattered(names, *group, rank=rank) for group in groups)
        rank = torch.distributed.get_rank()
        if hasattr(optimizer, "bf16_groups_flat"):
            groups = zip(
                optimizer.bf16_groups_flat,
                optimizer.fp32_groups_flat_partition,
                optimizer.bf16_groups,
                strict=True,
            )
        else:
            groups = zip(
                optimizer.bit16_groups_flat,
                optimizer.single_partition_of_fp32_groups,
                optimizer.bit16_groups,
                strict=True,
            )
        return tuple(_cut(names, *group, rank=rank) for group in groups)
    except AttributeError as error:
        raise EngineError(
            f"this DeepSpeed keeps its master weights in another way: {error}",
            hint="install deepspeed==0.19.8",
        ) from error


def _whole(names: dict[int, str], param: nn.Parameter) -> Shard:
    name = names[id(param)]
    return Shard(param, (Span(name, tuple(param.shape), 0, param.numel(), 0),))


def _cut(
    names: dict[int, str], flat: Tensor, master: Tensor, params: Iterable[Tensor], *, rank: int
) -> Shard:
    """ZeRO 1 and 2: the parameters are views of one flat tensor, of which each rank has a slice."""
    low = rank * master.numel()
    high = low + master.numel()
    spans = []
    for param in params:
        begin = _place(param, flat)
        first, last = max(begin, low), min(begin + param.numel(), high)
        if first < last:
            spans.append(
                Span(
                    names[id(param)],
                    tuple(param.shape),
                    start=first - begin,
                    length=last - first,
                    offset=first - low,
                )
            )
    return Shard(master, tuple(spans))


def _scattered(
    names: dict[int, str], flat: Tensor, master: Tensor, params: Iterable[Any], *, rank: int
) -> Shard:
    """ZeRO 3: of every parameter each rank has an equal slice, the last ones padded."""
    spans = []
    for param in params:
        size = param.ds_tensor.ds_numel
        start = rank * size
        length = min(size, param.ds_numel - start)
        if length > 0:
            offset = _place(param.ds_tensor, flat)
            spans.append(Span(names[id(param)], tuple(param.ds_shape), start, length, offset))
    return Shard(master, tuple(spans))


def _place(view: Tensor, flat: Tensor) -> int:
    """The element of ``flat`` at which a view of it begins."""
    return (view.data_ptr() - flat.data_ptr()) // flat.element_size()


@torch.no_grad()
def publish(engine: Any, stage: int) -> None:
    """Give the module what the master copies hold: every rank calls it."""
    optimizer = engine.optimizer
    if stage in (1, 2):
        optimizer.update_lp_params()
    elif stage == 3:
        # What a step does after the optimizer's: small parameters are kept whole by every rank.
        optimizer._partition_all_parameters()
        for group in range(len(optimizer.fp16_groups)):
            optimizer._reassign_or_swap_out_partitioned_parameters(group)
        persistent = optimizer.persistent_parameters
        if persistent:
            persistent[0].all_gather(persistent)
