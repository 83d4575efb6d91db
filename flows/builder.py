"""A build, step by step, without Prefect: what the flow's tasks do, and tests call directly.

Each step reads the tables, computes what is missing, and publishes rows. Nothing else says
what is done, so a build that was interrupted anywhere is resumed by building again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from threading import Event
from typing import Any

from catalog.clips import ClipRow
from catalog.lake import Lake
from catalog.members import Member, Recipe, check_name, remember
from catalog.outcomes import Outcome, by_clip
from catalog.release import Release
from catalog.sources import list_source
from catalog.splits import assign_splits
from flows.batches import Batches
from flows.config import EngineTable
from flows.ingest import Trouble, ingest
from flows.missing import State
from flows.stamp import Stamp
from flows.tally import Tally
from infra.engine.base import Engine, Item, Pool, Resources, WorkerSpec
from infra.errors import LimelightError, UsageError
from stages.base import Stage
from stages.models.offer import Offer
from stages.pack import pack
from stages.registry import Group, fingerprints, groups, require
from stages.worker import Task, made_of, stage_entry

SMALL_FILES = 256
"""Files of the outcomes table beyond which they are merged while a build runs."""

LEAST_FRAME_BYTES = 512
"""A clip whose headers count no frames is given time for one in each of so many bytes."""


@dataclass(frozen=True)
class Request:
    """What somebody asks for.

    Attributes:
        source: Folder, glob, URL or list.
        name: Name of the release.
        config: A validated build config.
    """

    source: str
    name: str
    config: Any

    def __post_init__(self) -> None:
        if not self.source:
            raise UsageError("no source was given", hint="name a folder, a glob, a URL or a list")
        check_name(self.name)


def patience(offers: Sequence[Offer], engine: EngineTable, frames: int) -> float:
    """Seconds after which a worker of these models, with so many frames, counts as hung."""
    a_clip = engine.deadline_seconds + sum(offer.slowest_clip for offer in offers)
    a_frame = engine.deadline_per_frame + sum(offer.slowest for offer in offers)
    return a_clip + a_frame * frames


class Build:
    """One build over a lake.

    Args:
        lake: Where everything is kept.
        request: What is asked for.
        engine: Makes the engine; called only if there is something to compute.
        run: Name of this build; its rows and scratch files carry it.
        stages: The chain of stages; by default the configured ones.
        cancelled: True once somebody wants the build to stop.

    Raises:
        UsageError: A package that a stage needs is missing.
        WeightsError: Weights are missing or wrong.
    """

    def __init__(
        self,
        lake: Lake,
        request: Request,
        engine: Callable[[], Engine],
        run: str,
        *,
        stages: Sequence[Stage[Any]] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.lake = lake
        self.request = request
        self.run = run
        self.stages = list(stages if stages is not None else request.config.stages())
        require(self.stages, request.config.engine.stage_resources())
        self.fingerprints = fingerprints(self.stages)
        self.groups = groups(self.stages, request.config.engine.stage_resources())
        self.tally = Tally()
        self._stamp = Stamp(lake.root, request.name, run, self.fingerprints)
        self.members: list[Member] = []
        self._clips: dict[str, ClipRow] = {}
        self._unread: set[str] = set()
        self._make_engine = engine
        self._cancelled = cancelled
        self._broken = Event()

    @cached_property
    def engine(self) -> Engine:
        """The engine, started at first use: a build with nothing to compute starts none."""
        return self._make_engine()

    def close(self) -> None:
        """End the engine, if it was started, and remove this build's scratch files."""
        if "engine" in self.__dict__:
            self.engine.close()
            del self.__dict__["engine"]
        self.lake.discard_scratch(self.run)

    def take_up(self) -> None:
        """List the source, give every entry its clip id, and settle who is a member."""
        self.tally.step = "listing the source"
        config = self.request.config
        entries = list(list_source(self.request.source, config.source.layout))
        layout = config.source.layout
        if not entries:
            raise UsageError(
                f"{self.request.source} holds no clips by the layout {layout!r}",
                hint="videos are known by their suffix (pictures by the layout ffhq); "
                "name files directly, or with a glob, to take them whatever they are called",
            )
        rows = ingest(
            self.lake,
            entries,
            self._ingest_pool,
            self.run,
            layout,
            self._cancelled,
            self._quarantined_sources,
        )
        if self._cancelled():
            return
        self._record_troubles([(row, trouble) for row, trouble in rows if trouble])
        self._unread = {row.clip for row, trouble in rows if trouble}
        self._clips = {}
        for row, _ in rows:
            self._clips.setdefault(row.clip, row)
        splits = assign_splits(
            [(row.clip, row.identity) for row, _ in rows],
            val=config.pack.val,
            test=config.pack.test,
            seed=config.pack.seed,
        )
        self.members = [
            Member(clip=c, label=r.label, identity=r.identity, split=splits[c])
            for c, r in sorted(self._clips.items())
        ]
        remember(
            self.lake,
            Recipe(
                name=self.request.name,
                source=self.request.source,
                config=config.model_dump(mode="json"),
                fingerprints=self.fingerprints,
            ),
            self.members,
        )

    def state(self) -> State:
        """Where every member stands now."""
        clips = [member.clip for member in self.members]
        return State.load(self.lake.outcomes, self.fingerprints, clips, self.stages)

    def partitions(self, group: Group) -> list[list[tuple[str, list[str]]]]:
        """The group's missing work, cut into Prefect tasks."""
        missing = self.state().tasks(self.stages, group.stages)
        # What has no content yet is for the next build to read, under its own id then.
        tasks = (task for task in missing if task[0] not in self._unread)
        size = self.request.config.engine.partition
        parts = list(iter(lambda: list(islice(tasks, size)), []))
        self.tally.expect(sum(map(len, parts)))
        return parts

    def compute(self, group: Group, tasks: Sequence[tuple[str, list[str]]]) -> None:
        """Run one partition of a group, and publish its outcomes about once a second.

        What has been finished meanwhile is left out: by an attempt at this partition that
        was broken off, or by another build of the same clips.
        """
        self.tally.step = f"computing {', '.join(group.stages)}"
        clips = [clip for clip, _ in tasks]
        latest = self.lake.outcomes.latest(self.fingerprints, clips)
        known = by_clip(latest, clips)
        wanted = dict(State.read(latest, clips, self.stages).tasks(self.stages, group.stages))
        self.tally.add(
            [], clips=sum(self._by_others(group, known[c]) for c in clips if c not in wanted)
        )
        if not wanted:
            return
        # The longest first, so that no worker is left alone with one at the end.
        ordered = sorted(wanted.items(), key=lambda task: -self._clips[task[0]].frames)
        pool = self._stage_pool(group)
        try:
            with Batches(self.lake.outcomes.append) as batches:
                for result in pool.run(self._items(ordered, known), cancelled=self._stopped):
                    outcomes = self._stamp.results(result, wanted[result.id], known[result.id])
                    self.tally.add(outcomes)
                    batches.add(outcomes)
        except LimelightError:
            # The other partitions would only meet the same: a full disk, no worker.
            self._broken.set()
            raise
        self.lake.outcomes.compact(files=SMALL_FILES)

    def finish(self, group: Group) -> None:
        """Tidy up after the last partition of a group."""
        self.tally.step = f"finished {', '.join(group.stages)}"
        self.lake.outcomes.compact()

    def pack(self) -> Release | None:
        """Publish the release of every member whose stages are all done; None if none is."""
        self.tally.step = "packing"
        state = self.state()
        keep = [member for member, ok in zip(self.members, state.complete(), strict=True) if ok]
        if not keep:
            return None
        outcomes = self.lake.outcomes.of([m.clip for m in keep], self.fingerprints)
        return pack(
            self.lake,
            self.request.name,
            [(member, outcomes[member.clip]) for member in keep],
            fingerprints=self.fingerprints,
            weights=sorted({name for stage in self.stages for name in stage.weights()}),
            config=self.request.config.pack,
        )

    def all(self) -> Release | None:
        """Every step in turn, in this thread: what tests and debugging need."""
        try:
            self.take_up()
            for group in self.groups:
                for part in self.partitions(group):
                    self.compute(group, part)
                self.finish(group)
            return self.pack()
        finally:
            self.close()

    def _stopped(self) -> bool:
        return self._broken.is_set() or self._cancelled()

    def _by_others(self, group: Group, known: Mapping[str, Outcome]) -> bool:
        """Whether a clip's outcomes in a group are none of this build's (which it counted)."""
        return all(known[name].run != self.run for name in group.stages if name in known)

    def _items(
        self, tasks: Sequence[tuple[str, list[str]]], known: Mapping[str, Mapping[str, Outcome]]
    ) -> Iterator[Item]:
        engine = self.request.config.engine
        offers = [offer for stage in self.stages for offer in stage.offers()]
        for clip, names in tasks:
            done = {
                stage: made_of(outcome)
                for stage, outcome in known[clip].items()
                if outcome.status == "done" and stage not in names
            }
            row = self._clips[clip]
            task: Task = {"clip": clip, "uri": row.uri, "stages": names, "done": done}
            frames = row.frames if row.frames > 0 else row.size // LEAST_FRAME_BYTES
            # A header may claim anything; what is longer than allowed only has to be found out.
            frames = min(frames, self.request.config.probe.max_frames)
            # A frame is held upright (source size) and in its normal form; never more than
            # the two budgets together.
            held = row.frames * (row.width * row.height + 512 * 512) * 3
            yield Item(
                id=clip,
                payload=task,
                size=min(held, 2 * engine.frame_bytes) or 2 * engine.frame_bytes,
                deadline=patience(offers, engine, frames),
            )

    def _quarantined_sources(self, clips: Sequence[str]) -> dict[str, Trouble]:
        """Of these stand-ins for unread sources, those that are left alone until a retry."""
        first = self.stages[0].name
        found = self.lake.outcomes.of(clips, {first: self.fingerprints[first]})
        return {
            clip: Trouble("quarantined", made[first].reason, made[first].error)
            for clip, made in found.items()
            if first in made and made[first].status == "quarantined"
        }

    def _record_troubles(self, troubles: Sequence[tuple[ClipRow, Trouble]]) -> None:
        """Entries without content end in an outcome too, under the first stage."""
        first = self.stages[0].name
        before = self.lake.outcomes.of([row.clip for row, _ in troubles], self.fingerprints)
        outcomes = [
            self._stamp.unread(row.clip, first, trouble, last)
            for row, trouble in troubles
            if (last := before[row.clip].get(first)) is None
            or last.reason != trouble.reason
            or trouble.status == "failed"
        ]
        self.lake.outcomes.append(outcomes)
        self.tally.add(outcomes, clips=0)

    def _ingest_pool(self) -> Pool:
        self.tally.step = "reading new sources"
        arguments = {"lake": str(self.lake.root), "run": self.run}
        spec = WorkerSpec("stages.ingest:IngestWorker", arguments)
        return self.engine.pool("ingest", spec, Resources(), None)

    def _stage_pool(self, group: Group) -> Pool:
        config = self.request.config.engine
        chosen = [stage for stage in self.stages if stage.name in group.stages]
        spec = WorkerSpec(
            "stages.worker:ClipWorker",
            {
                "lake": str(self.lake.root),
                "run": self.run,
                "frame_bytes": config.frame_bytes,
                "stages": [stage_entry(stage, self.fingerprints[stage.name]) for stage in chosen],
            },
        )
        return self.engine.pool(group.name, spec, group.resources, None)
