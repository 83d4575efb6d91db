"""Commands that look: status, preview, query, verify, quarantine."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.markup import escape
from rich.progress import track

from catalog.lake import Lake
from catalog.members import read_recipe
from catalog.query import query as run_query
from catalog.release import Release
from flows.cli.build import BackendOption, check_backend, rebuild
from flows.cli.common import (
    DAMAGED,
    JsonOption,
    LakeOption,
    console,
    emit,
    end,
    show_path,
    show_table,
    stderr,
    table_of,
)
from flows.cli.driver import supervise
from flows.config import parse_config
from flows.quarantine import Quarantined, find, reproduce
from flows.runs import TrainingRun, read_runs
from flows.status import Status, read_status

quarantine_app = typer.Typer(
    help="Clips that killed or hung their worker, or failed too often.", no_args_is_help=True
)
ReleaseArgument = Annotated[str, typer.Argument(help="Name of the release.")]
ClipArgument = Annotated[str, typer.Argument(help="Clip id, or the beginning of it.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(status)
    app.command()(preview)
    app.command()(query)
    app.command()(verify)
    app.add_typer(quarantine_app, name="quarantine")


def status(
    lake: LakeOption,
    name: Annotated[str, typer.Argument(help="Name of a release; all without.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Counts and throughput of each stage, live while a build runs; and who is training."""
    opened = Lake.open(lake)
    if as_json:
        emit([entry.to_json() for entry in read_status(opened, name)])
        return
    if not watch:
        running = [run for run in read_runs(opened) if run.state == "running"]
        _show_status(read_status(opened, name), running)
        return
    with Live(console=console, refresh_per_second=1) as live:
        while True:
            live.update(table_of(_rows(read_status(opened, name))))
            time.sleep(1)


def _show_status(entries: list[Status], training: list[TrainingRun]) -> None:
    if not entries:
        console.print("no build yet: limelight build SOURCE --name NAME")
    for entry in entries:
        console.print(f"[bold]{entry.name}[/bold]: {entry.clips:,} clips, {entry.state}")
        show_table(_rows([entry]))
    for run in training:
        console.print(
            f"training [bold]{escape(run.name)}[/bold] on {escape(run.release)}:"
            f" step {run.step:,} of {run.steps:,}"
        )


def _rows(entries: list[Status]) -> list[dict[str, Any]]:
    several = len(entries) > 1
    return [
        {**({"release": entry.name} if several else {}), **row}
        for entry in entries
        for row in entry.stages
    ]


def preview(
    lake: LakeOption,
    name: ReleaseArgument,
    out: Annotated[Path | None, typer.Option(help="HTML file to write.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Clips shown in full.")] = 100,
) -> None:
    """Write an HTML page: each clip's frames, mask, kpmap, mesh, score and reason."""
    from evaluation.preview import write_preview

    opened = Lake.open(lake)
    path = write_preview(opened, name, out or Path(f"{name}-preview.html"), limit=limit)
    show_path(path.absolute())


def query(
    lake: LakeOption,
    sql: Annotated[str, typer.Argument(help='For example "select * from clips limit 5".')],
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option(min=1, help="Rows printed; --json prints all.")] = 50,
) -> None:
    """Ask the catalog in SQL (DuckDB): clips, outcomes, members, index."""
    found = run_query(Lake.open(lake), sql)
    if as_json:
        emit(found.to_pylist())
        return
    rows = found.slice(0, limit).to_pylist()
    if not rows:
        console.print("no rows")
    show_table(rows)
    if found.num_rows > limit:
        console.print(f"[dim]{found.num_rows - limit:,} more rows; --limit or --json[/dim]")


def verify(
    lake: LakeOption,
    name: ReleaseArgument,
    version: Annotated[str, typer.Option(help="Version; the current one without.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Compare every byte of a release with its digests."""
    release = Release.open(Lake.open(lake), name, version or None)
    problems = release.verify()
    if as_json:
        emit({"name": name, "version": release.version, "problems": problems})
    else:
        for problem in problems:
            stderr.print(f"[red]{escape(problem)}[/red]")
        verdict = f"{len(problems)} problems" if problems else "every byte is as published"
        console.print(f"{name} {release.version}: {verdict}")
    if problems:
        end(DAMAGED)


@quarantine_app.command("list")
def quarantine_list(lake: LakeOption, name: ReleaseArgument, as_json: JsonOption = False) -> None:
    """List the clips of a release that are set aside."""
    found = find(Lake.open(lake), name)
    if as_json:
        emit([entry.to_json() for entry in found])
        return
    if not found:
        console.print("nothing is quarantined")
    show_table([entry.row() for entry in found])


@quarantine_app.command("show")
def quarantine_show(
    lake: LakeOption, name: ReleaseArgument, clip: ClipArgument, as_json: JsonOption = False
) -> None:
    """Show what a clip did: error, last lines, and the command that reproduces it."""
    entry = _one(Lake.open(lake), name, clip)
    if as_json:
        emit(entry.to_json())
        return
    show_table([entry.row()])
    console.print(entry.outcome.stderr or "(nothing was written to stderr)", markup=False)
    console.print(f"reproduce: {entry.outcome.command}", markup=False, soft_wrap=True)


@quarantine_app.command("retry")
def quarantine_retry(
    lake: LakeOption,
    name: ReleaseArgument,
    backend: BackendOption,
    clip: Annotated[str, typer.Argument(help="Clip id; all without.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Try quarantined clips again."""
    opened = Lake.open(lake)
    recipe = read_recipe(opened, name)
    entries = [_one(opened, name, clip)] if clip else find(opened, name)
    check_backend(backend)
    supervise(lake)
    opened.outcomes.void([entry.outcome for entry in entries])
    config = parse_config(recipe.config, f"the recipe of {name}")
    rebuild(opened, recipe, config, backend, as_json=as_json)


@quarantine_app.command("drop")
def quarantine_drop(lake: LakeOption, name: ReleaseArgument, clip: ClipArgument) -> None:
    """Reject a quarantined clip by hand, for as long as its stage stays as it is."""
    opened = Lake.open(lake)
    entry = _one(opened, name, clip)
    opened.outcomes.append([entry.dropped()])
    console.print(
        f"{escape(entry.label)} is rejected until the config of {entry.outcome.stage} changes"
    )


@quarantine_app.command("reproduce")
def quarantine_reproduce(
    lake: LakeOption,
    name: ReleaseArgument,
    clip: ClipArgument,
    stage: Annotated[str, typer.Option(help="The stage to run.")],
) -> None:
    """Run one stage on one clip in this very process, where it can be watched dying."""
    opened = Lake.open(lake)
    for outcome in track(
        reproduce(opened, name, clip, stage), "running", console=stderr, transient=True
    ):
        console.print(f"{outcome.stage}: {outcome.status} {outcome.reason}", markup=False)
    sys.stdout.flush()


def _one(lake: Lake, name: str, clip: str) -> Quarantined:
    from infra.errors import UsageError

    found = [entry for entry in find(lake, name) if entry.outcome.clip.startswith(clip)]
    if len(found) != 1:
        what = "no quarantined clip" if not found else f"{len(found)} quarantined clips"
        raise UsageError(
            f"{what} of {name} begin with {clip!r}", hint=f"limelight quarantine list {name}"
        )
    return found[0]
