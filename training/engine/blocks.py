"""8-bit optimizer states of a master copy: out to fragments, and back in by any cut."""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.checkpoint.fragments import CheckpointReader, QuantisedRun
from training.engine.optimizers import BLOCK
from training.engine.shards import Span


def quantised_run(codes: Tensor, absmax: Tensor, code_map: Tensor, span: Span) -> QuantisedRun:
    """A span's part of a block-quantised state: views, but for the blocks' bounds."""
    first, last = _blocks(span)
    return QuantisedRun(
        codes[span.offset : span.offset + span.length],
        absmax[first:last],
        _bounds(span).to(codes.device),
        code_map,
    )


@torch.no_grad()
def fill_blocks(
    codes: Tensor,
    absmax: Tensor,
    code_map: Tensor,
    spans: Sequence[Span],
    reader: CheckpointReader,
    what: str,
) -> None:
    """Fill a block-quantised state from a checkpoint.

    Blocks that were saved as blocks are taken as they are, byte by byte. Where another cut was
    saved, or another precision, a block is made of its numbers anew.

    Args:
        codes: uint8 (n,), filled.
        absmax: Scales of the blocks, filled.
        code_map: float32 (256,), rising.
        spans: What of the state are parameters.
        reader: The checkpoint.
        what: The state's name there.
    """
    # Padding stands for 0, as it does after any step; code 0 would be -absmax.
    codes.fill_(int(code_map.abs().argmin()))
    scales = torch.zeros(len(absmax))
    known = torch.zeros(len(absmax), dtype=torch.bool)
    torn = torch.zeros(len(absmax), dtype=torch.bool)
    for span in spans:
        first, last = _blocks(span)
        run = reader.read_quantised(span.name, what, span.start, span.length)
        if run is not None and torch.equal(run.code_map, code_map.cpu()):
            run = run.regrid(_bounds(span))
        else:
            run = None
        if run is None:
            torn[first:last] = True
            continue
        # A block that parameters share has one scale, or has to be made anew.
        torn[first:last] |= known[first:last] & (scales[first:last] != run.absmax)
        known[first:last] = True
        scales[first:last] = run.absmax
        codes[span.offset : span.offset + span.length] = run.codes.to(codes.device)
    if torn.any():
        _requantise(codes, scales, code_map, spans, reader, what, torn)
    absmax.copy_(scales)


def _requantise(
    codes: Tensor,
    scales: Tensor,
    code_map: Tensor,
    spans: Sequence[Span],
    reader: CheckpointReader,
    what: str,
    torn: Tensor,
) -> None:
    """Make the ``torn`` blocks of their numbers: each is divided by its largest (Dettmers 2022)."""
    row = torch.full((len(torn),), -1)
    row[torn] = torch.arange(int(torn.sum()))
    numbers = torch.zeros(int(torn.sum()), BLOCK)
    for span in spans:
        place = torch.arange(span.offset, span.offset + span.length)
        rows = row[place // BLOCK]
        wanted = rows >= 0
        if wanted.any():
            values = reader.read(span.name, what, span.start, span.length)
            numbers[rows[wanted], place[wanted] % BLOCK] = values[wanted]
    largest = numbers.abs().amax(1)
    edges = (code_map[1:] + code_map[:-1]).cpu() / 2
    made = torch.bucketize(numbers / largest.clamp(min=1e-38)[:, None], edges).to(torch.uint8)
    scales[torn] = largest
    for block, line in zip(torn.nonzero()[:, 0].tolist(), made, strict=True):
        # The last block may be shorter.
        target = codes[block * BLOCK : (block + 1) * BLOCK]
        target.copy_(line[: len(target)])


def _blocks(span: Span) -> tuple[int, int]:
    """First block that a span touches, and the one after its last."""
    return span.offset // BLOCK, -(-(span.offset + span.length) // BLOCK)


def _bounds(span: Span) -> Tensor:
    """Bounds of the span's blocks, counted from its first element."""
    first, last = _blocks(span)
    edges = torch.arange(first, last + 1) * BLOCK - span.offset
    return edges.clamp(0, span.length)
