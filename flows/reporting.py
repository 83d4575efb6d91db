"""What Prefect's UI shows of a build: progress and a table every second, a report at the end."""

from contextvars import copy_context
from threading import Event, Thread
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx
import orjson
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from catalog.verdicts import WORDS
from flows.summary import Summary
from flows.tally import Tally

PERIOD = 1.0


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
        progress: UUID | None = None
        table: UUID | None = None
        shown: tuple[int, int, str] | None = None
        over = False
        while not over:
            over = self._over.wait(self._period)
            now = (self._tally.finished, self._tally.total, self._tally.step)
            if now == shown or not self._tally.total:
                continue
            share = 100 * self._tally.finished / self._tally.total
            rows = self._tally.rows()
            try:
                if progress is None:
                    progress = create_progress_artifact(
                        share, key="build-progress", description="Clips finished"
                    )  # type: ignore[assignment]
                    table = create_table_artifact(
                        rows, key="build-stages", description="What each stage did"
                    )  # type: ignore[assignment]
                else:
                    with get_client(sync_client=True) as client:
                        client.update_artifact(progress, ArtifactUpdate(data=share))
                        if table is not None:
                            text = orjson.dumps(rows).decode()
                            client.update_artifact(table, ArtifactUpdate(data=text))
                shown = now
            except httpx.HTTPError:
                # The server may be restarting; the tables of the lake are the truth.
                continue


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
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
