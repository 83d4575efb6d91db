"""Commands that keep house: export, sweep, weights, doctor."""

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from catalog.lake import Lake
from catalog.release import Release
from flows.cli.common import (
    JsonOption,
    LakeOption,
    console,
    emit,
    end,
    human_bytes,
    show_path,
    show_table,
    stderr,
)
from infra import weights

weights_app = typer.Typer(
    help="Files that Limelight loads but does not ship.", no_args_is_help=True
)


class Layout(StrEnum):
    """Forms in which a release can leave the lake."""

    TALKINGHEAD = "talkinghead"
    WEBDATASET = "webdataset"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(export)
    app.command()(sweep)
    app.command()(doctor)
    app.add_typer(weights_app, name="weights")


def export(
    lake: LakeOption,
    name: Annotated[str, typer.Argument(help="Name of the release.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    layout: Annotated[Layout, typer.Option(help="talkinghead is LCVD's.")] = Layout.TALKINGHEAD,
    version: Annotated[str, typer.Option(help="Version; the current one without.")] = "",
) -> None:
    """Write a release in a layout that other code reads."""
    from catalog.export import export_talkinghead, export_webdataset

    release = Release.open(Lake.open(lake), name, version or None)
    write = export_talkinghead if layout is Layout.TALKINGHEAD else export_webdataset
    show_path(write(release, out))


def sweep(
    lake: LakeOption,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    hours: Annotated[float, typer.Option(min=0, help="Spare what is younger.")] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Remove files that no outcome and no release names."""
    from catalog.sweep import sweep as run_sweep

    swept = run_sweep(Lake.open(lake), grace=hours * 3600, dry_run=dry_run)
    if as_json:
        emit([{"kind": each.kind, "path": str(each.path), "size": each.size} for each in swept])
        return
    verb = "would remove" if dry_run else "removed"
    total = human_bytes(sum(each.size for each in swept))
    show_table([{"what": w, "number": n} for w, n in Counter(e.kind for e in swept).items()])
    console.print(f"{verb} {len(swept):,} things, {total}")


@weights_app.command("list")
def weights_list(as_json: JsonOption = False) -> None:
    """What is here, what is missing, what it is for, and its licence."""
    rows = [
        {
            "name": weight.name,
            "state": weights.verify(weight.name),
            "size": human_bytes(weight.size),
            "licence": weight.licence,
            "purpose": weight.purpose,
        }
        for weight in weights.registry().values()
    ]
    if as_json:
        emit(rows)
    else:
        show_table(rows)


@weights_app.command("pull")
def weights_pull(
    names: Annotated[list[str] | None, typer.Argument(help="Names; all without.")] = None,
) -> None:
    """Fetch weights, verify them by sha256 and keep them in the cache."""
    for name in track(names or list(weights.registry()), "pulling", console=stderr, transient=True):
        show_path(weights.pull(name), f"{name}: ")


@weights_app.command("verify")
def weights_verify() -> None:
    """Compare every weight that is here with its digest."""
    damaged = [name for name in weights.registry() if weights.verify(name) == "damaged"]
    for name in damaged:
        stderr.print(f"[red]{name}[/red] is damaged: limelight weights pull {name}")
    if damaged:
        end(4)
    console.print("every weight that is here is as published")


def doctor(lake: LakeOption, as_json: JsonOption = False) -> None:
    """Look at the machine, the packages, the weights, the lake and the server."""
    from flows.doctor import examine

    findings = examine(lake)
    if as_json:
        emit([finding._asdict() for finding in findings])
    else:
        show_table([finding._asdict() for finding in findings])
    if any(finding.state == "bad" for finding in findings):
        end(1)
