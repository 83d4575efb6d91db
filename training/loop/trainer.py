"""A training run on one rank: its steps, what it saves and shows on the way, and its end."""

import logging
import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import cast

from infra.errors import LimelightError
from training.checkpoint.folder import attempt_token
from training.checkpoint.randomness import seed_random
from training.checkpoint.records import RunState
from training.checkpoint.signals import StopRequest
from training.checkpoint.writer import CheckpointWriter
from training.engine.distributed import World
from training.engine.engine import StepFacts, TrainingEngine
from training.engine.ladder import Circumstances, Fit, Wish, save_wish
from training.loop.finish import write_model
from training.loop.folder import Reason, RunFolder, read_log
from training.loop.meters import RunLog, StepMeter, StepSums
from training.loop.objective import Objective, mean_loss
from training.loop.previews import Previewer, write_preview
from training.loop.request import LATENTS, RunRequest, bound_digest
from training.loop.speed import Utilisation
from training.loop.start import (
    agreed,
    anywhere,
    everywhere,
    open_latents,
    open_stored,
)
from training.loop.validation import Validator
from training.model.latents import load_codec
from training.model.official import initial_model
from training.model.tokens import load_token_encoder
from training.samples.loader import LostSamples, TrainingLoader
from training.samples.sample import TrainingSample

SKIPS = 32
"""Steps in a row that may be skipped, since their gradients are not finite: fp16's loss scale
halves with each, and has found its place by then."""

_LOG = logging.getLogger(__name__)


class TrainingStoppedError(LimelightError):
    """The run cannot go on: its numbers are no numbers any more."""

    exit_code = 7


class Trainer:
    """One rank of a run; every rank makes one, and calls `train`.

    Args:
        request: What is asked.
        folder: The run's.
        world: This rank's place.
        stop: Hears signals to leave.
        fit: Micro-batch and checkpointing to begin with.
        why: Why these, if the recipe asks for others.

    Raises:
        LimelightError: Release, weights, checkpoint or recipe do not allow it; it says why.
    """

    def __init__(
        self,
        request: RunRequest,
        folder: RunFolder,
        world: World,
        stop: StopRequest,
        *,
        fit: Fit,
        why: str = "",
    ) -> None:
        recipe = request.recipe
        self._request, self._recipe, self._folder = request, recipe, folder
        self._world, self._stop = world, stop
        self._release = request.open_release()
        stored = open_stored(folder, request, world)
        network = initial_model(recipe.model, recipe.run.seed)
        self._engine = TrainingEngine(network, recipe, world, fit=fit)
        self._codec = load_codec(recipe.model, world.device, self._engine.dtype)
        tokens = load_token_encoder(recipe.model, world.device, self._engine.dtype)
        self._objective = Objective(recipe, self._codec, tokens, world.device)
        self._cache = open_latents(folder, request, self._release, self._codec, world, stored)
        if stored:
            self._engine.load(stored)
        self._stored = stored
        self._loader = TrainingLoader(
            self._release,
            recipe,
            rank=world.rank,
            ranks=world.size,
            start_step=self._engine.step,
            micro_batch=1,
            cache=self._cache,
        )
        self._validator = Validator(recipe, self._release, self._objective, world)
        shown = self._validator.samples[: recipe.run.preview_clips]
        self._previewer = Previewer(recipe, self._objective, shown, world.device)
        self._lost = self._lost_before()
        self._why = why
        self._skipped = 0

    def train(self) -> Reason:
        """Take the steps that are left; once all are done, write the model.

        Returns:
            ``finished``, or ``preempted`` if any rank was told to leave.

        Raises:
            TrainingStoppedError: The loss, or gradients, are not finite.
            LakeError: Too many samples are damaged, or the disk cannot be written.
            EngineError: A process that reads died or hangs; memory does not suffice.
        """
        engine, world, run = self._engine, self._world, self._recipe.run
        validated = self._validated(engine.step)
        with (
            closing(RunLog(self._folder, step=engine.step, writes=world.first)) as log,
            self._writer() as writer,
        ):
            speed = self._speed(log)
            if self._due(run.validate_every) and not validated:
                self._validate(log)
            self._set_random()
            if self._leaves():
                return "preempted"
            for meter, samples in self._samples():
                loss = partial(mean_loss, self._objective, engine, note=meter.note)
                facts = engine.train_step(samples, loss)
                sums = self._sums(meter, samples, log, unsaved=writer.failed)
                self._check(facts, samples)
                self._tell(facts, sums, meter, speed, log)
                last = engine.step == run.steps
                if self._due(run.save_every) or sums.leave or sums.unsaved:
                    self._save(writer, wait=last or sums.leave)
                if sums.leave:
                    return "preempted"
                if self._due(run.validate_every):
                    self._validate(log)
                    if self._leaves():
                        self._save(writer, wait=True)
                        return "preempted"
        if world.first:
            write_model(self._folder, engine.step, self._recipe, self._release, self._codec)
        return "finished"

    @property
    def step(self) -> int:
        """Steps done."""
        return self._engine.step

    @property
    def fit(self) -> Fit:
        """Micro-batch and checkpointing that it is at."""
        return self._engine.fit

    def _leaves(self) -> bool:
        """Whether any rank was told to leave; every rank asks at the same places.

        A rank that was told once stays told: what this ended early, is ended for good.
        """
        return anywhere(bool(self._stop.flag), self._world)

    def _due(self, every: int) -> bool:
        return self._engine.step % every == 0 or self._engine.step == self._recipe.run.steps

    # What goes in.

    def _samples(self) -> Iterator[tuple[StepMeter, list[TrainingSample]]]:
        """For each step that is left a meter, which began to count, and this rank's samples.

        They are in the machine's memory; a pass brings those that it takes to the device.
        """
        with closing(cast("Generator[TrainingSample]", self._loader.samples())) as every:
            while self._engine.step < self._recipe.run.steps:
                meter = StepMeter(self._world)
                with meter.waiting():
                    samples = list(islice(every, self._engine.share))
                yield meter, samples

    # What comes out.

    def _sums(
        self, meter: StepMeter, samples: Sequence[TrainingSample], log: RunLog, *, unsaved: bool
    ) -> StepSums:
        """What all ranks measured; samples that were lost are told, and counted on every rank."""
        mine = [lost for sample in samples for lost in sample.lost]
        sums = meter.sums(lost=len(mine), leave=bool(self._stop.flag), unsaved=unsaved)
        if sums.lost:
            every = everywhere(mine, self._world)
            log.write("lost", self._engine.step, samples=every)
            for key, reason in every:
                _LOG.warning("step %d: sample %s is damaged: %s", self._engine.step, key, reason)
            self._lost.add(every)
        return sums

    def _check(self, facts: StepFacts, samples: Sequence[TrainingSample]) -> None:
        """Stop where numbers are no numbers any more."""
        self._skipped = self._skipped + 1 if facts.skipped else 0
        most = SKIPS if self._recipe.engine.precision == "fp16" else 1
        if math.isfinite(facts.loss) and self._skipped < most:
            return
        keys = everywhere([sample.key for sample in samples], self._world)
        what = "loss is" if not math.isfinite(facts.loss) else "gradients are"
        raise TrainingStoppedError(
            f"the {what} not finite in step {facts.step + 1}, of the samples {', '.join(keys)}",
            hint="look at these clips (limelight preview); if they are sound, lower optimizer.rate"
            " or raise optimizer.warmup, or use another engine.precision, under another name",
        )

    def _tell(
        self, facts: StepFacts, sums: StepSums, meter: StepMeter, speed: Utilisation, log: RunLog
    ) -> None:
        self._folder.beat()
        for event in facts.events:
            log.write("event", self._engine.step, message=event)
        if facts.events and self._world.first:
            under = Circumstances.of(self._recipe.engine, self._world)
            save_wish(self._folder.fit, Wish(facts.fit, under))
        seconds, batch = meter.seconds, self._recipe.run.batch
        log.write(
            "step",
            self._engine.step,
            loss=facts.loss,
            full=sums.full,
            portrait=sums.portrait,
            grad_norm=None if facts.skipped else facts.grad_norm,
            rate=facts.rate,
            seconds=seconds,
            clips_per_second=batch / seconds,
            wait=sums.wait,
            memory_bytes=sums.memory,
            mfu=speed.of(batch // self._world.size, seconds),
            micro_batch=facts.fit.micro_batch,
            accumulation=facts.fit.passes(self._engine.share),
            checkpointing=facts.fit.checkpointing,
            lost=len(self._lost),
            skipped=facts.skipped,
        )

    def _validate(self, log: RunLog) -> None:
        """Validate, and draw previews; all ranks take part in both.

        Told to leave, they do neither: a validation that was not made is made when the run goes
        on, previews are not drawn again.
        """
        if self._leaves():
            return
        step = self._engine.step
        self._folder.beat()
        found = self._validator.run(self._engine)
        log.write(
            "validation",
            step,
            loss=found.loss,
            full=found.full,
            portrait=found.portrait,
            split=self._validator.split,
            held_out=self._validator.held_out,
            sigmas=found.levels,
            portraits=found.portraits,
            seconds=found.seconds,
        )
        self._folder.beat()
        if self._recipe.run.preview_clips and not self._leaves():
            frames = self._previewer.run(self._engine)
            if self._world.first:
                log.picture("preview", step, write_preview(self._folder.previews, step, frames))
            self._folder.beat()

    # Where it stands.

    def _set_random(self) -> None:
        """Put the global generators where they belong, after all that is done at a start only."""
        if self._stored is None:
            seed_random(self._recipe.run.seed, self._world.rank, 0)
        else:
            self._stored.restore_random(self._world.rank, self._world.size)

    def _save(self, writer: CheckpointWriter, *, wait: bool) -> None:
        writer.save(self._engine.step, self._engine.fragments(), self._state(), wait=wait)

    def _state(self) -> RunState:
        position = self._engine.step * self._recipe.run.batch
        return RunState(
            position=position,
            epoch=position // self._loader.reader.stream.epoch,
            seed=self._recipe.run.seed,
            zero=self._engine.stage,
            recipe=bound_digest(self._recipe),
            release=self._request.seal,
            scalars={**self._engine.scalars(), LATENTS: int(self._cache is not None)},
        )

    def _writer(self) -> CheckpointWriter:
        return CheckpointWriter(
            self._folder.checkpoints,
            rank=self._world.rank,
            ranks=self._world.size,
            token=agreed(attempt_token(), self._world),
            keep=self._recipe.run.keep,
        )

    def _speed(self, log: RunLog) -> Utilisation:
        """Say how the run starts, and on what; and measure what the device could do."""
        speed = Utilisation(self._recipe, self._objective.shapes, self._world)
        log.write(
            "start",
            self._engine.step,
            ranks=self._world.size,
            device=str(self._world.device),
            zero=self._engine.stage,
            precision=self._recipe.engine.precision,
            epoch_samples=self._loader.reader.stream.epoch,
            latent_cache=self._cache is not None,
            sample_flops=speed.sample,
            peak_flops=speed.peak,
        )
        if self._why:
            _LOG.info("%s", self._why)
            log.write("event", self._engine.step, message=self._why)
        self._tell_lost_validation(log)
        return speed

    def _tell_lost_validation(self, log: RunLog) -> None:
        """Tell what validation lost, once: again only where it changed since the last start."""
        lost = [list(pair) for pair in self._validator.lost]
        rows = [row for row in read_log(self._folder.log, "lost") if "split" in row]
        if lost != (rows[-1]["samples"] if rows else []):
            for key, reason in lost:
                _LOG.warning("validation sample %s is damaged: %s", key, reason)
            log.write("lost", self._engine.step, samples=lost, split=self._validator.split)

    def _validated(self, step: int) -> bool:
        """Whether the log has a validation of a step: it may have been cut off right after."""
        rows = read_log(self._folder.log, "validation") if step else []
        return agreed(any(row["step"] == step for row in rows), self._world)

    def _lost_before(self) -> LostSamples:
        """What the run lost of its training before the checkpoint from which it goes on."""
        lost = LostSamples(self._recipe.data.max_lost)
        for row in read_log(self._folder.log, "lost"):
            if row["step"] <= self._engine.step and "split" not in row:
                lost.add((key, reason) for key, reason in row["samples"])
        return lost
