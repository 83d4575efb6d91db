"""The display of a training run on a terminal: how far it is, how fast, how well."""

from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from rich.console import Group
from rich.live import Live
from rich.text import Text

from flows.cli.common import bars, stderr
from flows.course import Course


class Dials:
    """Two lines on standard error that follow a run; use as a context manager."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._bar = bars()
        self._task = self._bar.add_task(course.step, total=None)
        self._live = Live(
            console=stderr, get_renderable=self._render, refresh_per_second=2, transient=True
        )

    def _render(self) -> Group:
        course = self._course
        self._bar.update(
            self._task,
            description=course.step,
            total=course.total or None,
            completed=course.finished,
        )
        return Group(self._bar, Text(figures(course), style="dim"))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()


def figures(course: Course) -> str:
    """What a run's last step and last validation say, on one line."""
    step, validation = course.last("step"), course.last("validation")
    remaining = course.remaining()
    told: list[tuple[str, Any]] = [
        ("loss {:.4g}", step.get("loss")),
        ("{:.3g} clips/s", step.get("clips_per_second")),
        ("{:.0%} waiting for data", step.get("wait")),
        ("MFU {:.0%}", step.get("mfu")),
        ("{} left", None if remaining is None else timedelta(seconds=round(remaining))),
        (f"held out {{:.4g}} at step {validation.get('step')}", validation.get("loss")),
    ]
    return "  ".join(words.format(value) for words, value in told if value is not None)
