"""One optimizer step after another, on any ZeRO stage, precision and number of ranks."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.checkpoint.fragments import CheckpointReader, Fragment, share
from training.engine.config import deepspeed_config, share_of, zero_stage
from training.engine.distributed import World
from training.engine.ema import Average
from training.engine.kernels import sound_kernels
from training.engine.ladder import Fit, MemoryExhaustedError, free_memory, out_of_memory
from training.engine.optimizers import make_optimizer, prepare_state, set_updates
from training.engine.recovery import discard_gradients
from training.engine.schedule import rate
from training.engine.shards import Shard, publish, shards_of
from training.engine.views import fill, fragments_of
from training.recipe.tables import Recipe

log = logging.getLogger(__name__)

Sample = TypeVar("Sample")


@dataclass(frozen=True)
class StepFacts:
    """What became of a step.

    Attributes:
        step: Steps taken before it.
        loss: Mean over the global batch, of all ranks.
        grad_norm: Of the whole gradient, before clipping; infinite where the step was skipped.
        rate: Learning rate.
        skipped: Whether the weights stayed as they were, since loss or gradient was not finite.
        fit: Micro-batch and checkpointing that it was computed with.
        events: What was changed to make it fit into memory, in words.
    """

    step: int
    loss: float
    grad_norm: float
    rate: float
    skipped: bool
    fit: Fit
    events: tuple[str, ...] = ()


class TrainingEngine:
    """A module, its optimizer and its moving average, spread over the ranks.

    Attributes:
        step: Steps taken, skipped ones included: the run's place in its data and schedule.
        updates: Optimizer steps taken, which Adam and the moving average count.
        fit: Micro-batch and checkpointing, which the out-of-memory ladder lowers.
        share: Samples of a step that fall to this rank.
    """

    def __init__(
        self, module: nn.Module, recipe: Recipe, world: World, *, fit: Fit | None = None
    ) -> None:
        """Hand a module to DeepSpeed. Every rank calls it, with equal fp32 weights.

        Args:
            module: In fp32; all training happens in its forward pass. ``checkpointing(on)`` says
                whether it computes activations again in the backward pass.
            recipe: What to train, and how.
            world: This rank's place.
            fit: What an earlier start found to fit into memory; else the recipe's.

        Raises:
            UsageError: This machine cannot do what the recipe asks for.
        """
        import deepspeed

        self.world = world
        self.recipe = recipe
        self.share = share_of(recipe, world.size)
        self.stage = zero_stage(recipe)
        table = recipe.engine
        self.fit = fit or Fit(min(table.micro_batch, self.share), table.checkpointing)
        parameters = [p for p in module.parameters() if p.requires_grad]
        count = sum(p.numel() for p in parameters)
        config = deepspeed_config(
            recipe, ranks=world.size, accelerator=world.device.type, parameters=count
        )
        # DeepSpeed casts the module, and makes the masters of what is left.
        exact = {name: p.data for name, p in module.named_parameters() if p.requires_grad}
        module.to(world.device)
        self._optimizer = make_optimizer(parameters, recipe.optimizer, world.device)
        with contextlib.redirect_stdout(StringIO()):
            # DeepSpeed prints what memory it takes.
            self._engine: Any = deepspeed.initialize(
                model=module, optimizer=self._optimizer, config=config
            )[0]
        self._shards: tuple[Shard, ...] = shards_of(self._engine, self.stage)
        if table.precision != "fp32":
            self._restore_masters(exact)
        del exact
        self._average = Average([s.master for s in self._shards], recipe.optimizer.ema)
        for shard in self._shards:
            prepare_state(self._optimizer, shard.key)
        if self.stage == 0:
            self._optimizer.register_step_pre_hook(self._clip)
        self._norm = math.inf
        self.step = 0
        self.updates = 0
        self.module.checkpointing(self.fit.checkpointing)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward pass."""
        return self._engine(*args, **kwargs)

    @property
    def module(self) -> Any:
        """The module that was handed over; its parameters are DeepSpeed's now."""
        return self._engine.module

    @property
    def dtype(self) -> torch.dtype:
        """What the module computes in, and its inputs have to be."""
        names = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        return names[self.recipe.engine.precision]

    # One step.

    def train_step(
        self, samples: Sequence[Sample], objective: Callable[[Sequence[Sample]], Tensor]
    ) -> StepFacts:
        """Take one optimizer step. Every rank calls it, with its share of the global batch.

        Args:
            samples: This rank's `share` of them.
            objective: Of some of the samples, their mean loss, by one forward pass of the engine.
                It may be called again with the same samples, and must then give the same.

        Raises:
            MemoryExhaustedError: It does not fit into memory, nor can it be repeated in place.
        """
        events: list[str] = []
        while True:
            mine, exhausted = self._accumulate(samples, objective)
            loss, exhausted = self._agree(mine, exhausted)
            if not exhausted:
                return self._finish(loss, tuple(events))
            events.append(self._lower())

    def _accumulate(
        self, samples: Sequence[Sample], objective: Callable[[Sequence[Sample]], Tensor]
    ) -> tuple[float, bool]:
        """This rank's mean loss, with gradients added up; and whether memory ran out."""
        size, total = self.fit.micro_batch, torch.zeros((), device=self.world.device)
        try:
            with sound_kernels(self.world.device, self.dtype):
                for first in range(0, len(samples), size):
                    part = samples[first : first + size]
                    loss = objective(part) * (len(part) / len(samples))
                    self._engine.backward(loss)
                    total += loss.detach().float()
                    del loss
        except Exception as error:
            if not out_of_memory(error):
                raise
            if self.world.size > 1 and self.stage >= 2:
                raise MemoryExhaustedError.at(self.fit, where="a pass of the network") from error
            return 0.0, True
        return float(total), False

    def _agree(self, loss: float, exhausted: bool) -> tuple[float, bool]:
        """Mean loss of all ranks, and whether memory ran out on any: the one collective of ours.

        Every rank calls it once for every time that it goes through its samples.
        """
        told = torch.tensor([loss, float(exhausted)], dtype=torch.float64)
        told = told.to(self.world.device)
        dist.all_reduce(told)
        total, count = told.tolist()
        return total / self.world.size, count > 0

    def _lower(self) -> str:
        """Go down a rung of the ladder, with gradients thrown away; what was done, in words."""
        lower = self.fit.lower()
        if lower is None:
            raise MemoryExhaustedError.at(self.fit, where="a pass of the network")
        discard_gradients(self._engine, self.stage)
        free_memory()
        said = (
            f"step {self.step}: out of memory with {self.fit}; repeated with {lower},"
            f" in {lower.passes(self.share)} passes"
        )
        self.fit = lower
        self.module.checkpointing(lower.checkpointing)
        log.warning("%s", said)
        return said

    def _finish(self, loss: float, events: tuple[str, ...]) -> StepFacts:
        """Reduce, clip and take the step; or throw a gradient away that is not finite."""
        now = rate(self.step, self.recipe.optimizer, self.recipe.run.steps)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = now
        norm = math.inf
        if math.isfinite(loss):
            try:
                self._engine.step()
            except Exception as error:
                if out_of_memory(error):
                    raise MemoryExhaustedError.at(self.fit, where="the optimizer step") from error
                raise
            norm = self._norm if self.stage == 0 else float(self._engine.get_global_grad_norm())
        skipped = not (math.isfinite(norm) and self._engine.was_step_applied())
        if skipped:
            discard_gradients(self._engine, self.stage)
            norm = math.inf
        else:
            self._average.update(self.updates)
            self.updates += 1
        facts = StepFacts(self.step, loss, norm, now, skipped, self.fit, events)
        self.step += 1
        return facts

    def _clip(self, *_: Any) -> None:
        """Stage 0: before the optimizer's step. DeepSpeed does it at the other stages."""
        parameters = [shard.key for shard in self._shards]
        clip = self.recipe.optimizer.clip_norm
        self._norm = float(nn.utils.clip_grad_norm_(parameters, clip))
        if not math.isfinite(self._norm):
            # Without gradients the optimizer leaves weights and states alone.
            for parameter in parameters:
                parameter.grad = None

    # Weights and states.

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the moving average into the module, and back bit by bit. Every rank enters it."""
        with self._average.swapped(self._publish):
            yield

    def fragments(self) -> list[Fragment]:
        """What this rank writes into a checkpoint: views, of which the ranks' hold all once.

        The next step changes them: copy them before. Nothing is communicated.
        """
        if not self._average.in_place:
            raise RuntimeError("the weights are exchanged for their average: leave `averaged`")
        found = fragments_of(self._shards, self._average.tensors, self._optimizer)
        if self.stage == 0:
            return list(share(found, self.world.rank, self.world.size))
        return found

    def scalars(self) -> dict[str, int | float]:
        """The counts that belong to the states: equal on every rank."""
        counts: dict[str, int | float] = {"step": self.step, "updates": self.updates}
        scaler = getattr(self._engine.optimizer, "loss_scaler", None)
        if self.recipe.engine.precision == "fp16" and scaler is not None:
            counts |= {f"fp16_{name}": getattr(scaler, name) for name in SCALER}
        return counts

    def load(self, reader: CheckpointReader) -> None:
        """Go on from a checkpoint, of any ZeRO stage and world size. Every rank calls it.

        At the stage and world size that it was saved with, every byte is as it was.

        Raises:
            LakeError: The checkpoint is of another model.
        """
        fill(self._shards, self._average.tensors, self._optimizer, reader)
        scalars: Mapping[str, int | float] = reader.scalars
        self.step = int(scalars.get("step", 0))
        self.updates = int(scalars.get("updates", self.step))
        for shard in self._shards:
            set_updates(prepare_state(self._optimizer, shard.key), self.updates)
        scaler = getattr(self._engine.optimizer, "loss_scaler", None)
        for name in SCALER:
            if scaler is not None and f"fp16_{name}" in scalars:
                setattr(scaler, name, scalars[f"fp16_{name}"])
        self._publish()

    def _publish(self) -> None:
        publish(self._engine, self.stage)

    def _restore_masters(self, exact: Mapping[str, Tensor]) -> None:
        """Put the exact weights into the masters, which DeepSpeed made of rounded ones."""
        for shard in self._shards:
            for span in shard.spans:
                part = shard.master[span.offset : span.offset + span.length]
                part.copy_(exact[span.name].view(-1)[span.start : span.start + span.length])


SCALER = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")
"""State of DeepSpeed's dynamic loss scale."""
