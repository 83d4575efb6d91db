"""Commands that keep house: export, sweep, doctor."""

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
