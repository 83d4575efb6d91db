"""What Prefect's UI shows of a build: progress and a table every second, a report at the end."""

import re
from contextvars import copy_context
from threading import Event, Thread
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx
import orjson
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import FlowRunContext

from catalog.verdicts import WORDS
from flows.summary import Summary
from flows.tally import Tally

PERIOD = 1.0
_MARKUP = re.compile(r"[\\`*_\[\]<>|~&]")


class Reporter:
    """Publishes a tally as two artifacts, about once a second; use as a context manager.

    Args:
        tally: Written by the build's threads.
        period: Seconds between two updates.
    """

    def __init__(self, tally: Tally, period: float = PERIOD) -> None:
        self._tally = tally
        self._period = period
        self._over = Event()
        # The context carries the flow run, so that the artifacts belong to it.
        self._thread = Thread(target=copy_context().run, args=(self._report,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(timeout=10)

    def _report(self) -> None:
        shown: tuple[int, int, str] | None = None
        artifacts: tuple[UUID, UUID] | None = None
        # One client for the whole build: making one costs more than what it sends.
        with get_client(sync_client=True) as client:
            over = False
            while not over:
                over = self._over.wait(self._period)
                now = (self._tally.finished, self._tally.total, self._tally.step)
                if now == shown or not self._tally.total:
                    continue
                try:
                    artifacts = self._publish(client, artifacts)
                    shown = now
                except httpx.HTTPError:
                    # The server may be restarting; the tables of the lake are the truth.
                    continue

    def _publish(
        self, client: SyncPrefectClient, artifacts: tuple[UUID, UUID] | None
    ) -> tuple[UUID, UUID]:
        """Make the two artifacts, or bring them up to date; their ids."""
        share = 100 * self._tally.finished / self._tally.total
        table = orjson.dumps(self._tally.rows()).decode()
        if artifacts is None:
            context = FlowRunContext.get()
            run = context.flow_run.id if context and context.flow_run else None
            made = [
                client.create_artifact(
                    ArtifactCreate(
                        type=kind, key=key, description=words, data=data, flow_run_id=run
                    )
                )
                for kind, key, words, data in (
                    ("progress", "build-progress", "Clips finished", share),
                    ("table", "build-stages", "What each stage did", table),
                )
            ]
            return made[0].id, made[1].id
        for artifact, data in zip(artifacts, (share, table), strict=True):
            client.update_artifact(artifact, ArtifactUpdate(data=data))
        return artifacts


def publish_report(summary: Summary) -> None:
    """Leave the markdown report of a finished build on its flow run."""
    create_markdown_artifact(markdown(summary), key="build-report", description="The build's end")


def markdown(summary: Summary) -> str:
    """The report of a build, in Markdown."""
    lines = [f"# {summary.name}", ""]
    if summary.version:
        lines += [f"Release **{summary.version}**, digest `{summary.digest}`, in `{summary.path}`."]
    else:
        lines += ["No clip was kept, so there is no release."]
    verdicts = ", ".join(
        f"{summary.verdicts[status]} {word}"
        for status, word in WORDS.items()
        if summary.verdicts.get(status)
    )
    lines += ["", f"{summary.clips} clips: {verdicts or 'none'}, in {summary.seconds:.1f} s.", ""]
    if not summary.computed:
        lines += ["Nothing had to be computed.", ""]
    else:
        lines += _table(summary.stages)
    if summary.turned_down:
        lines += ["", "## Not kept", "", *_table(summary.turned_down)]
    return "\n".join(lines)


def _table(rows: list[dict[str, object]] | list[dict[str, str]]) -> list[str]:
    columns = list(rows[0])
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows),
    ]


def _cell(value: object) -> str:
    """One line in which nothing is Markdown or HTML: names of clips are anybody's words."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(str(value).split()))
