"""What Prefect's UI shows of a run: progress and a table every second, a report at the end."""

import re
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
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
from flows.tally import Counted

PERIOD = 1.0
_MARKUP = re.compile(r"[\\`*_\[\]<>|~&]")


@dataclass(frozen=True)
class Titles:
    """Keys and descriptions of the two artifacts.

    Attributes:
        key: Of the progress.
        words: What it counts.
        table_key: Of the table.
        table_words: What is in it.
    """

    key: str
    words: str
    table_key: str
    table_words: str


BUILD = Titles("build-progress", "Clips finished", "build-stages", "What each stage did")


class Reporter:
    """Publishes a tally as two artifacts, about once a second; use as a context manager.

    Args:
        tally: Written by the run's threads.
        period: Seconds between two updates.
        titles: What the artifacts are called.
    """

    def __init__(self, tally: Counted, period: float = PERIOD, titles: Titles = BUILD) -> None:
        self._tally = tally
        self._titles = titles
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
        # One client for the whole run: making one costs more than what it sends.
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
        titles = self._titles
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
                    ("progress", titles.key, titles.words, share),
                    ("table", titles.table_key, titles.table_words, table),
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
        lines += markdown_table(summary.stages)
    if summary.turned_down:
        lines += ["", "## Not kept", "", *markdown_table(summary.turned_down)]
    return "\n".join(lines)


def markdown_table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Lines of a Markdown table of rows that have the same keys."""
    columns = list(rows[0])
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows),
    ]


def _cell(value: object) -> str:
    """One line in which nothing is Markdown or HTML: names of clips are anybody's words."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(str(value).split()))
