"""What the commands share: options, output for people and for machines, ends."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from infra.errors import LimelightError
from infra.settings import load_settings

console = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)

TROUBLED = 6
DAMAGED = 7
INTERRUPTED = 130

LakeOption = Annotated[
    Path,
    typer.Option(
        "--lake",
        help="Folder that holds everything (also LIMELIGHT_LAKE).",
        default_factory=lambda: Path(load_settings().lake),
        show_default="lake",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document, for machines.")]

STYLES = {
    "done": "green",
    "kept": "green",
    "rejected": "yellow",
    "failed": "red",
    "quarantined": "magenta",
    "pending": "dim",
}


@contextmanager
def errors() -> Iterator[None]:
    """End the process as its documented exit code says, without a traceback for users."""
    try:
        yield
    except LimelightError as error:
        # Lines are not broken here: they hold commands, to be copied.
        stderr.print(f"[red]error:[/red] {escape(error.message)}", soft_wrap=True)
        if error.hint:
            stderr.print(f"[dim]  ->[/dim] {escape(error.hint)}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        stderr.print("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        sys.stdout = None
        sys.exit(0)


def emit(document: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(document, indent=2, default=str, sort_keys=False))


def end(code: int) -> NoReturn:
    """End the command with an exit code."""
    raise typer.Exit(code)


def show_path(path: Path | str, words: str = "") -> None:
    """Print a path on one line, letter by letter: brackets in it are no markup."""
    console.print(f"{words}{path}", markup=False, soft_wrap=True)


def show_table(rows: Sequence[Mapping[str, Any]], *, title: str = "") -> None:
    """Print rows (mappings with the same keys) as a table; nothing where there are none."""
    if rows:
        console.print(table_of(rows, title=title))


def table_of(rows: Sequence[Mapping[str, Any]], *, title: str = "") -> Table:
    """A table of rows that have the same keys; numbers to the right."""
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None)
    for place, name in enumerate(rows[0] if rows else ()):
        numeric = all(isinstance(row[name], int | float) for row in rows)
        # What a row is about stays whole as long as anything else can give way.
        table.add_column(
            str(name),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=place == 0,
        )
    for row in rows:
        table.add_row(*[_cell(value) for value in row.values()])
    return table


def bars(*, remaining: bool = False, hidden: bool = False) -> Progress:
    """Bars on standard error, gone at their end: words, bar, how many of how many, time.

    Args:
        remaining: Show the time that is left, not the time that went by.
        hidden: Show nothing.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn() if remaining else TimeElapsedColumn(),
        console=stderr,
        transient=True,
        disable=hidden,
    )


def human_bytes(number: float) -> str:
    """Bytes in the unit that people read best."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(number) < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = escape(str(value))
    style = STYLES.get(str(value))
    return f"[{style}]{text}[/{style}]" if style else text
