"""A build, step by step, without Prefect: what the flow's tasks do, and tests call directly.

Each step reads the tables, computes what is missing, and publishes rows. Nothing else says
what is done, so a build that was interrupted anywhere is resumed by building again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from time import monotonic
from typing import Any

from catalog.clips import ClipRow
from catalog.lake import Lake
from catalog.members import Member, Recipe, check_name, remember
from catalog.outcomes import Outcome
from catalog.release import Release
from catalog.sources import list_source
from catalog.splits import assign_splits
from flows.ingest import Trouble, ingest
from flows.missing import State
from flows.tally import Tally
from infra.engine.base import Done, Engine, Item, Lost, Pool, Resources, WorkerSpec
from infra.errors import UsageError
from stages.base import Stage
from stages.pack import pack
from stages.registry import Group, fingerprints, groups
from stages.worker import Task, made_of, stage_entry

COMMIT_SECONDS = 1.0
COMMIT_OUTCOMES = 1024
MAX_FAILURES = 3
"""A clip whose source failed in this many builds is quarantined, and not tried for ever."""


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


class Build:
    """One build over a lake.

    Args:
        lake: Where everything is kept.
        request: What is asked for.
        engine: Makes the engine; called only if there is something to compute.
        run: Name of this build; its rows and scratch files carry it.
        stages: The chain of stages; by default the configured ones.
        cancelled: True once somebody wants the build to stop.
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
        self.fingerprints = fingerprints(self.stages)
        self.groups = groups(self.stages, request.config.engine.stage_resources())
        self.tally = Tally()
        self.members: list[Member] = []
        self._clips: dict[str, ClipRow] = {}
        self._make_engine = engine
        self._cancelled = cancelled

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
        rows = ingest(self.lake, entries, self._ingest_pool, self.run, layout, self._cancelled)
        if self._cancelled():
            return
        self._record_troubles([(row, trouble) for row, trouble in rows if trouble])
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
        latest = self.lake.outcomes.latest(self.fingerprints, clips)
        return State.read(latest, clips, self.stages)

    def partitions(self, group: Group) -> list[list[tuple[str, list[str]]]]:
        """The group's missing work, cut into Prefect tasks."""
        tasks = self.state().tasks(self.stages, group.stages)
        size = self.request.config.engine.partition
        parts = list(iter(lambda: list(islice(tasks, size)), []))
        self.tally.expect(sum(map(len, parts)))
        return parts

    def compute(self, group: Group, tasks: Sequence[tuple[str, list[str]]]) -> None:
        """Run one partition of a group, and publish its outcomes about once a second."""
        self.tally.step = f"computing {', '.join(group.stages)}"
        # The longest first, so that no worker is left alone with one at the end.
        tasks = sorted(tasks, key=lambda task: -self._clips[task[0]].frames)
        wanted = dict(tasks)
        known = self.lake.outcomes.of(list(wanted), self.fingerprints)
        pending: list[Outcome] = []
        committed = monotonic()
        pool = self._stage_pool(group)
        try:
            for result in pool.run(self._items(tasks, known), cancelled=self._cancelled):
                outcomes = self._outcomes(result, wanted[result.id], known.get(result.id, {}))
                pending += outcomes
                self.tally.add(outcomes)
                if monotonic() - committed > COMMIT_SECONDS or len(pending) >= COMMIT_OUTCOMES:
                    self.lake.outcomes.append(pending)
                    pending, committed = [], monotonic()
        finally:
            # What is finished is kept, also when the run is cancelled or its engine lost.
            self.lake.outcomes.append(pending)

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

    def _items(
        self, tasks: Sequence[tuple[str, list[str]]], known: dict[str, dict[str, Outcome]]
    ) -> Iterator[Item]:
        engine = self.request.config.engine
        for clip, names in tasks:
            done = {
                stage: made_of(outcome)
                for stage, outcome in known.get(clip, {}).items()
                if outcome.status == "done" and stage not in names
            }
            row = self._clips[clip]
            task: Task = {"clip": clip, "uri": row.uri, "stages": names, "done": done}
            # A frame is held upright (source size) and in its normal form; never more than
            # the two budgets together.
            held = row.frames * (row.width * row.height + 512 * 512) * 3
            yield Item(
                id=clip,
                payload=task,
                size=min(held, 2 * engine.frame_bytes) or 2 * engine.frame_bytes,
                deadline=engine.deadline_seconds + engine.deadline_per_frame * max(row.frames, 0),
            )

    def _outcomes(
        self, result: Done | Lost, names: list[str], before: dict[str, Outcome]
    ) -> list[Outcome]:
        now = datetime.now(UTC)
        if isinstance(result, Lost):
            return [self._quarantined(result, names, now)]
        stamped = []
        for outcome in result.value:
            attempts = result.attempts
            if outcome.status == "failed":
                previous = before.get(outcome.stage)
                attempts += previous.attempts if previous else 0
                if attempts >= MAX_FAILURES:
                    outcome = replace(outcome, status="quarantined", error="SourceError")
            stamped.append(
                replace(
                    outcome,
                    attempts=attempts,
                    worker=result.worker,
                    run=self.run,
                    finished_at=now,
                    command=self._command(result.id, outcome.stage)
                    if outcome.status == "quarantined"
                    else "",
                )
            )
        return stamped

    def _quarantined(self, lost: Lost, names: list[str], now: datetime) -> Outcome:
        _, _, noted = lost.note.partition(" ")
        stage = noted if noted in names else names[0]
        return Outcome(
            clip=lost.id,
            stage=stage,
            fingerprint=self.fingerprints[stage],
            status="quarantined",
            reason=f"{stage} {_VERBS[lost.kind]} on this clip, twice: {lost.message}",
            seconds=lost.seconds,
            attempts=lost.attempts,
            worker=lost.worker,
            error=lost.error,
            stderr=lost.stderr,
            command=self._command(lost.id, stage),
            run=self.run,
            finished_at=now,
        )

    def _command(self, clip: str, stage: str) -> str:
        return (
            f"limelight quarantine reproduce {self.request.name} {clip} "
            f"--stage {stage} --lake {self.lake.root}"
        )

    def _record_troubles(self, troubles: Sequence[tuple[ClipRow, Trouble]]) -> None:
        """Entries without content end in an outcome too, under the first stage."""
        first = self.stages[0].name
        before = self.lake.outcomes.of([row.clip for row, _ in troubles], self.fingerprints)
        now = datetime.now(UTC)
        outcomes = [
            Outcome(
                clip=row.clip,
                stage=first,
                fingerprint=self.fingerprints[first],
                status=trouble.status,
                reason=trouble.reason,
                error=trouble.error,
                run=self.run,
                finished_at=now,
            )
            for row, trouble in troubles
            if before[row.clip].get(first) is None
            or before[row.clip][first].reason != trouble.reason
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


_VERBS = {
    "raised": "raised an error",
    "died": "killed its worker",
    "hung": "hung",
    "memory": "ran out of memory",
}
