"""What a build adds to what its workers tell: who, when, how often, and when to give up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from catalog.outcomes import Outcome, Status
from flows.ingest import Trouble
from infra.engine.base import Done, Lost

MAX_FAILURES = 3
"""A clip whose source failed so often is quarantined, and not tried for ever."""

_VERBS = {
    "raised": "raised an error",
    "died": "killed its worker",
    "hung": "hung",
    "memory": "ran out of memory",
}


@dataclass(frozen=True)
class Stamp:
    """Makes the outcomes of one build.

    Attributes:
        lake: Its root.
        release: Name of the release.
        run: Name of the build.
        fingerprints: Of every stage, by name.
    """

    lake: Path
    release: str
    run: str
    fingerprints: Mapping[str, str]

    def results(
        self, result: Done | Lost, names: Sequence[str], before: Mapping[str, Outcome]
    ) -> list[Outcome]:
        """Outcomes of one task.

        Args:
            result: What the engine made of it; a ``Done`` holds the worker's outcomes.
            names: The stages asked for, in order.
            before: The clip's outcomes until now, by stage.
        """
        now = datetime.now(UTC)
        if isinstance(result, Lost):
            return [self._lost(result, names, now)]
        return [
            self._settled(
                replace(
                    outcome,
                    attempts=result.attempts + _failures(outcome.status, before.get(outcome.stage)),
                    worker=result.worker,
                    run=self.run,
                    finished_at=now,
                )
            )
            for outcome in result.value
        ]

    def unread(self, clip: str, stage: str, trouble: Trouble, last: Outcome | None) -> Outcome:
        """The outcome of an entry without content, under a stand-in's id and the first stage.

        Args:
            clip: The stand-in's id.
            stage: The first stage.
            trouble: Why there is no content.
            last: Its outcome until now.
        """
        return self._settled(
            Outcome(
                clip=clip,
                stage=stage,
                fingerprint=self.fingerprints[stage],
                status=trouble.status,
                reason=trouble.reason,
                attempts=1 + _failures(trouble.status, last),
                error=trouble.error,
                run=self.run,
                finished_at=datetime.now(UTC),
            )
        )

    def _lost(self, lost: Lost, names: Sequence[str], now: datetime) -> Outcome:
        # The worker notes "<clip> <stage>"; without a note it died before the first.
        _, _, noted = lost.note.partition(" ")
        stage = noted if noted in names else names[0]
        return self._settled(
            Outcome(
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
                run=self.run,
                finished_at=now,
            )
        )

    def _settled(self, outcome: Outcome) -> Outcome:
        """Quarantine what failed too often; tell how to reproduce what is quarantined."""
        if outcome.status == "failed" and outcome.attempts >= MAX_FAILURES:
            outcome = replace(outcome, status="quarantined", error="SourceError")
        if outcome.status != "quarantined":
            return outcome
        command = (
            f"limelight quarantine reproduce {self.release} {outcome.clip} "
            f"--stage {outcome.stage} --lake {quote(str(self.lake))}"
        )
        return replace(outcome, command=command)


def _failures(status: Status, before: Outcome | None) -> int:
    """How often a stage that failed now had failed before."""
    return before.attempts if before and status == before.status == "failed" else 0
