"""What a rank gives to a checkpoint and takes back: its parts of weights, averages and states."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from infra.errors import LakeError
from training.checkpoint.fragments import (
    EMA,
    VALUE,
    CheckpointReader,
    Fragment,
    QuantisedRun,
)
from training.engine.blocks import fill_blocks, quantised_run
from training.engine.optimizers import MOMENTS, moment, prepare_state
from training.engine.shards import Shard, Span


def fragments_of(
    shards: Iterable[Shard], averages: Sequence[Tensor], optimizer: torch.optim.Optimizer
) -> list[Fragment]:
    """Views of all that this rank holds; nothing is copied, nor communicated.

    Args:
        shards: Its master copies.
        averages: The moving average of each; or none.
        optimizer: The one that moves them.
    """
    found = []
    for place, shard in enumerate(shards):
        flat: dict[str, Tensor] = {VALUE: shard.master}
        if averages:
            flat[EMA] = averages[place]
        state = prepare_state(optimizer, shard.key)
        for span in shard.spans:
            tensors: dict[str, Tensor | QuantisedRun] = {
                what: _part(tensor, span) for what, tensor in flat.items()
            }
            for name in MOMENTS:
                numbers, absmax, code_map = moment(state, name)
                if absmax is None or code_map is None:
                    tensors[name] = _part(numbers, span)
                else:
                    tensors[name] = quantised_run(numbers, absmax, code_map, span)
            found.append(Fragment(span.name, span.shape, span.start, tensors))
    return found


@torch.no_grad()
def fill(
    shards: Iterable[Shard],
    averages: Sequence[Tensor],
    optimizer: torch.optim.Optimizer,
    reader: CheckpointReader,
) -> None:
    """Fill what this rank holds from a checkpoint, whatever cut that was saved by.

    A checkpoint without averages, or without states, leaves the averages at the weights and the
    states at zero: so weights of elsewhere can be trained on.

    Args:
        shards: This rank's master copies.
        averages: The moving average of each; or none.
        optimizer: The one that moves them.
        reader: The checkpoint.

    Raises:
        LakeError: It is of another model.
    """
    saved = {what: frozenset(reader.names(what)) for what in (VALUE, EMA, *MOMENTS)}
    for place, shard in enumerate(shards):
        for span in shard.spans:
            _check(span, saved, reader)
        fill_flat(shard.master, shard.spans, reader, VALUE)
        if averages:
            known = [span for span in shard.spans if span.name in saved[EMA]]
            averages[place].copy_(shard.master)
            fill_flat(averages[place], known, reader, EMA)
        state = prepare_state(optimizer, shard.key)
        for name in MOMENTS:
            known = [span for span in shard.spans if span.name in saved[name]]
            numbers, absmax, code_map = moment(state, name)
            if not known:
                continue
            if absmax is None or code_map is None:
                fill_flat(numbers, known, reader, name)
            else:
                fill_blocks(numbers, absmax, code_map, known, reader, name)


def fill_flat(flat: Tensor, spans: Iterable[Span], reader: CheckpointReader, what: str) -> None:
    """Fill the spans of a flat tensor."""
    for span in spans:
        _part(flat, span).copy_(reader.read(span.name, what, span.start, span.length))


def _part(flat: Tensor, span: Span) -> Tensor:
    return flat[span.offset : span.offset + span.length]


def _check(span: Span, saved: Mapping[str, frozenset[str]], reader: CheckpointReader) -> None:
    if span.name not in saved[VALUE]:
        raise LakeError(
            f"the checkpoint has no parameter {span.name}",
            hint="it is of another model: compare [model] of its recipe with this run's",
        )
    shape = tuple(reader.shape(span.name))
    if shape != span.shape:
        raise LakeError(
            f"{span.name} is {shape} in the checkpoint, and {span.shape} in the model",
            hint="compare [model] of the checkpoint's recipe with this run's",
        )
