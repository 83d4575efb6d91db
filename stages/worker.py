"""What runs in an actor: one clip, every stage that is missing, one decode."""

import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from socket import gethostname
from time import perf_counter
from typing import Any, TypedDict

from catalog.lake import Lake
from catalog.outcomes import Artifact, Outcome, Status
from catalog.sources import local_copy
from infra.digests import canonical_json
from infra.engine.base import Note
from infra.errors import SourceError, WeightsError
from infra.storage import lake_errors
from infra.weights import identity, weight_path
from stages.base import Rejected, Stage
from stages.clip import Clip
from stages.ingest import clip_id


class Task(TypedDict):
    """One clip's work.

    Attributes:
        clip: The clip's id.
        uri: Where its bytes are.
        stages: Names of the stages to run, in order.
        done: Facts and artifacts of the stages already done, by name.
    """

    clip: str
    uri: str
    stages: list[str]
    done: dict[str, "Made"]


class Made(TypedDict):
    """What a stage left behind: its facts and ``{name: (digest, size)}``."""

    facts: Mapping[str, Any]
    artifacts: Mapping[str, tuple[str, int]]


def made_of(outcome: Outcome) -> Made:
    """What a done outcome left behind, as a task carries it."""
    artifacts = {artifact.name: (artifact.digest, artifact.size) for artifact in outcome.artifacts}
    return {"facts": outcome.facts, "artifacts": artifacts}


def stage_entry(stage: Stage[Any], fingerprint: str) -> dict[str, Any]:
    """How a :class:`ClipWorker` is told of a stage, in JSON types."""
    return {
        "path": f"{type(stage).__module__}:{type(stage).__qualname__}",
        "config": stage.config.model_dump(mode="json"),
        "fingerprint": fingerprint,
        "weights": {name: identity(name) for name in stage.weights()},
    }


def check_weights(wanted: Mapping[str, str]) -> None:
    """Make sure that this machine has the weights that the driver's fingerprints speak of.

    Args:
        wanted: `infra.weights.identity` of each, by name.

    Raises:
        WeightsError: One is missing here, is not ready to load, or is another one.
    """
    here = gethostname()
    for name, ours in wanted.items():
        try:
            found = identity(name, record=False)
            if found == ours:
                weight_path(name)
                continue
        except WeightsError as error:
            raise WeightsError(f"on {here}: {error.message}", hint=error.hint) from error
        raise WeightsError(
            f"the weight {name} is {found[:16]}... on {here}, but {ours[:16]}... where the build"
            " was started",
            hint="give all machines of the cluster the same files (see docs/weights.md)",
        )


class ClipWorker:
    """Runs stages on clips; the engine's worker for every group of stages.

    Args:
        lake: The lake's root.
        run: Name of the build, for the scratch folder.
        stages: A :func:`stage_entry` of each stage.
        frame_bytes: Decoded frames that a clip may keep in memory.
    """

    def __init__(self, lake: str, run: str, stages: list[dict[str, Any]], frame_bytes: int) -> None:
        self._lake = Lake(lake)
        self._scratch = self._lake.scratch(run)
        self._frame_bytes = frame_bytes
        self._stages: dict[str, Stage[Any]] = {}
        self._fingerprints: dict[str, str] = {}
        self._weights: dict[str, Mapping[str, str]] = {}
        self._ready: set[str] = set()
        for entry in stages:
            module, _, name = entry["path"].partition(":")
            cls: type[Stage[Any]] = getattr(import_module(module), name)
            stage = cls(cls.Config.model_validate(entry["config"]))
            self._stages[stage.name] = stage
            self._fingerprints[stage.name] = entry["fingerprint"]
            self._weights[stage.name] = entry["weights"]

    def run(self, payload: Task, note: Note) -> list[Outcome]:
        """Run the task's stages until one of them turns the clip down.

        Returns:
            An outcome a stage that ran; the driver adds worker, attempts and run.
        """
        scratch = self._scratch / payload["clip"]
        with lake_errors(scratch):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
        try:
            return self._run(payload, scratch, note)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(self, payload: Task, scratch: Path, note: Note) -> list[Outcome]:
        made = {
            name: [Artifact(n, digest, size) for n, (digest, size) in m["artifacts"].items()]
            for name, m in payload["done"].items()
        }

        def load(stage: str, name: str) -> Path:
            for artifact in made.get(stage, ()):
                if artifact.name == name:
                    return self._lake.artifacts.path(stage, artifact)
            raise LookupError(f"stage {stage!r} made no {name!r} of clip {payload['clip']}")

        facts: dict[str, Mapping[str, Any]] = {n: m["facts"] for n, m in payload["done"].items()}
        outcomes: list[Outcome] = []
        note(f"{payload['clip']} {payload['stages'][0]}")
        try:
            path = local_copy(payload["uri"], scratch)
            if clip_id(path) != payload["clip"]:
                raise SourceError(
                    "its bytes have changed since it was taken up", hint="build again"
                )
        except SourceError as error:
            return [self._outcome(payload, payload["stages"][0], "failed", reason=str(error))]
        clip = Clip(
            payload["clip"], path, scratch, facts=facts, load=load, budget=self._frame_bytes
        )
        for name in payload["stages"]:
            note(f"{payload['clip']} {name}")
            outcome = self._stage(payload, name, clip)
            outcomes.append(outcome)
            if outcome.status != "done":
                break
            made[name] = list(outcome.artifacts)
            facts[name] = outcome.facts
        return outcomes

    def _stage(self, payload: Task, name: str, clip: Clip) -> Outcome:
        stage = self._stages[name]
        if name not in self._ready:
            check_weights(self._weights[name])
            stage.setup()
            self._ready.add(name)
        start = perf_counter()
        try:
            with lake_errors(clip.scratch):
                product = stage.process(clip)
                # Refused here, a NaN costs this clip; in the table it would cost the build.
                canonical_json(product.facts)
                artifacts = tuple(
                    self._lake.artifacts.commit(name, member, path)
                    for member, path in sorted(product.files.items())
                )
        except Rejected as decision:
            return self._outcome(
                payload,
                name,
                "rejected",
                reason=decision.reason,
                score=decision.score,
                facts=decision.facts,
                seconds=perf_counter() - start,
            )
        except SourceError as error:
            return self._outcome(
                payload, name, "failed", reason=str(error), seconds=perf_counter() - start
            )
        frames = product.facts.get("frames") or clip.facts.get("probe", {}).get("frames", 0)
        return self._outcome(
            payload,
            name,
            "done",
            score=product.score,
            facts=product.facts,
            artifacts=artifacts,
            frames=int(frames),
            seconds=perf_counter() - start,
        )

    def _outcome(self, payload: Task, stage: str, status: Status, **fields: Any) -> Outcome:
        return Outcome(
            clip=payload["clip"],
            stage=stage,
            fingerprint=self._fingerprints[stage],
            status=status,
            **fields,
        )

    def close(self) -> None:
        """Close every stage that was set up."""
        for name in self._ready:
            self._stages[name].close()
