"""What a training run hands to a checkpoint, and how it gets it back.

A rank holds *fragments*: runs of a parameter's elements, in the order of the flattened tensor. How
parameters are cut into fragments is the engine's affair and differs with ZeRO stage and world size;
a checkpoint keeps each fragment's address, and so gives back any other cut.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from torch import Tensor

VALUE = "value"
"""A parameter's master copy."""
EMA = "ema"
"""The moving average of that."""


@dataclass(frozen=True)
class QuantisedRun:
    """A run of an 8-bit optimizer state: every block of elements has a scale of its own.

    Element ``i`` of block ``b`` is ``code_map[codes[i]] * absmax[b]`` (Dettmers et al. 2022, "8-bit
    Optimizers via Block-wise Quantization", as bitsandbytes keeps it).

    Attributes:
        codes: uint8 (n,).
        absmax: Scales, float32 (k,). A block that the run's edge cuts keeps the whole block's.
        bounds: int64 (k + 1,): block ``b`` is ``codes[bounds[b]:bounds[b + 1]]``; from 0 to n.
        code_map: float32 (256,): what each code stands for, -1 to 1.
    """

    codes: Tensor
    absmax: Tensor
    bounds: Tensor
    code_map: Tensor

    def __post_init__(self) -> None:
        dtypes = (self.codes.dtype, self.absmax.dtype, self.bounds.dtype, self.code_map.dtype)
        if dtypes != (torch.uint8, torch.float32, torch.int64, torch.float32):
            raise ValueError(f"a quantised run of {dtypes}: uint8, float32, int64, float32 needed")
        if self.codes.ndim != 1 or self.absmax.ndim != 1 or self.code_map.shape != (256,):
            raise ValueError("a quantised run needs 1-D codes and scales, and a map of 256 codes")
        if self.bounds.shape != (len(self.absmax) + 1,):
            raise ValueError(f"{len(self.absmax)} blocks with {len(self.bounds)} bounds")
        inner = int(self.bounds[0]) == 0 and int(self.bounds[-1]) == len(self.codes)
        if not inner or bool((self.bounds.diff() < 1).any()):
            raise ValueError(f"the bounds of {len(self.codes)} codes must rise from 0 to there")

    def __len__(self) -> int:
        return len(self.codes)

    def dequantise(self) -> Tensor:
        """The numbers, float32 (n,)."""
        scales = self.absmax.repeat_interleave(self.bounds.diff())
        return self.code_map[self.codes.long()] * scales

    def slice(self, start: int, length: int) -> "QuantisedRun":
        """Elements ``start`` to ``start + length``; a block that an edge cuts keeps its scale."""
        stop = start + length
        if not 0 <= start < stop <= len(self):
            raise ValueError(f"elements {start} to {stop} of a run of {len(self)}")
        blocks, bounds = cut_blocks(self.bounds, start, stop)
        return QuantisedRun(self.codes[start:stop], self.absmax[blocks], bounds, self.code_map)

    def regrid(self, bounds: Tensor) -> "QuantisedRun | None":
        """The same codes on another grid of blocks.

        Args:
            bounds: The blocks wanted, int64, rising from 0 to n.

        Returns:
            None where a block wanted would need two scales: then it must be dequantised.
        """
        blocks = torch.searchsorted(self.bounds, bounds[:-1], right=True) - 1
        lasts = torch.searchsorted(self.bounds, bounds[1:]) - 1
        absmax = self.absmax[blocks]
        # Every old block that begins within a new one must have that one's scale.
        owner = torch.searchsorted(bounds, self.bounds[:-1], right=True) - 1
        if not torch.equal(self.absmax[lasts], absmax) or bool(
            ((self.absmax != absmax[owner]) & (self.bounds[:-1] > bounds[owner])).any()
        ):
            return None
        return QuantisedRun(self.codes, absmax, bounds.clone(), self.code_map)

    @staticmethod
    def join(runs: "Sequence[QuantisedRun]") -> "QuantisedRun | None":
        """Runs one after another as one; None where their code maps differ."""
        first = runs[0]
        if any(not torch.equal(run.code_map, first.code_map) for run in runs[1:]):
            return None
        if len(runs) == 1:
            return first
        bounds, total = [first.bounds[:1]], 0
        for run in runs:
            bounds.append(run.bounds[1:] + total)
            total += len(run)
        return QuantisedRun(
            torch.cat([run.codes for run in runs]),
            torch.cat([run.absmax for run in runs]),
            torch.cat(bounds),
            first.code_map,
        )


def cut_blocks(bounds: Tensor, start: int, stop: int) -> tuple[slice, Tensor]:
    """The blocks of a `QuantisedRun` that hold elements ``start`` to ``stop``.

    Returns:
        Which they are, and their bounds within these elements.
    """
    edges = torch.tensor([start, stop], device=bounds.device)
    first = int(torch.searchsorted(bounds, edges[0], right=True)) - 1
    last = int(torch.searchsorted(bounds, edges[1]))
    return slice(first, last), bounds[first : last + 1].clamp(start, stop) - start


@dataclass(frozen=True)
class Fragment:
    """A run of one parameter's elements that this rank writes.

    The fragments of all ranks together hold every element of every parameter once. Where ranks
    have copies of the same (ZeRO stage 0), `share` gives each its part.

    Attributes:
        name: Of the parameter, as in the model's state dict.
        shape: Of the whole parameter.
        start: Place of the run's first element in the flattened parameter.
        tensors: What is kept of these elements ("value", "ema", "exp_avg", "exp_avg_sq", ...):
            float32 (n,) each, or 8-bit states.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    tensors: Mapping[str, Tensor | QuantisedRun]

    def __post_init__(self) -> None:
        lengths = {what: len(tensor) for what, tensor in self.tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{self.name}: the runs of a fragment have one length: {lengths}")
        if not (self.start >= 0 and 0 < self.length <= prod(self.shape) - self.start):
            raise ValueError(
                f"{self.name} has {prod(self.shape)} elements; {self.length} from {self.start}"
                " do not lie within"
            )
        for what, tensor in self.tensors.items():
            if isinstance(tensor, Tensor) and (tensor.dtype != torch.float32 or tensor.ndim != 1):
                raise ValueError(
                    f"{what} of {self.name} is {tensor.dtype} {tuple(tensor.shape)};"
                    " float32 and one dimension are needed"
                )

    @property
    def length(self) -> int:
        """Elements of the run."""
        return len(next(iter(self.tensors.values())))

    def slice(self, start: int, length: int) -> "Fragment":
        """A part of it, ``start`` being an element of the fragment's, not of the parameter's."""
        cut = {
            what: tensor.slice(start, length)
            if isinstance(tensor, QuantisedRun)
            else tensor[start : start + length]
            for what, tensor in self.tensors.items()
        }
        return Fragment(self.name, self.shape, self.start + start, cut)


def share(fragments: Sequence[Fragment], rank: int, ranks: int) -> Iterator[Fragment]:
    """What ``rank`` writes of fragments that all ``ranks`` hold alike: even parts, in order."""
    total = sum(fragment.length for fragment in fragments)
    first, last = total * rank // ranks, total * (rank + 1) // ranks
    place = 0
    for fragment in fragments:
        start, stop = max(first - place, 0), min(last - place, fragment.length)
        if start < stop:
            yield fragment.slice(start, stop - start)
        place += fragment.length


class CheckpointReader(Protocol):
    """Reads any cut of the parameters back, whatever cut was written."""

    @property
    def scalars(self) -> Mapping[str, int | float]:
        """Numbers saved with it: ``step``, ``epoch``, and the counts that the engine gave."""

    def names(self, what: str) -> tuple[str, ...]:
        """Parameters of which ``what`` was saved, sorted."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a whole parameter."""

    def read(self, name: str, what: str, start: int, length: int) -> Tensor:
        """Elements of a flattened parameter on the CPU, float32 (length,), dequantised if need be.

        Raises:
            LakeError: They were not saved.
        """

    def read_quantised(self, name: str, what: str, start: int, length: int) -> QuantisedRun | None:
        """The same as its 8-bit codes; None where any of it was saved unquantised."""
