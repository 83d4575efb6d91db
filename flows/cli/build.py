"""Commands that build: build, plan, rerun, schedule."""

import glob
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from catalog.lake import Lake
from catalog.members import Recipe, check_name, read_members, read_recipe
from flows.cli.common import (
    TROUBLED,
    JsonOption,
    LakeOption,
    console,
    emit,
    end,
    human_bytes,
    show_path,
    show_table,
)
from flows.cli.driver import run_build, supervise
from flows.config import default_toml, load_config, parse_config
from flows.rerun import Only, void_outcomes
from infra.errors import UsageError
from infra.settings import load_settings
from stages.registry import require

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file of the build; defaults without.")
]
NameOption = Annotated[str, typer.Option("--name", help="Name of the release.")]
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend",
        help="ray, or inline: in one process, for debugging (also LIMELIGHT_BACKEND).",
        default_factory=lambda: load_settings().backend,
        show_default="ray",
    ),
]
SourceArgument = Annotated[
    str, typer.Argument(help="Folder, glob, fsspec URL, or CSV or Parquet list of clips.")
]
schedule_app = typer.Typer(help="Builds on a schedule.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(build)
    app.command()(plan)
    app.command()(rerun)
    app.command()(config)
    app.add_typer(schedule_app, name="schedule")


def build(
    lake: LakeOption,
    backend: BackendOption,
    source: SourceArgument = "",
    name: NameOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build a release from raw clips; only what is missing is computed."""
    loaded = load_config(config)
    parameters = {
        "source": absolute_source(source or loaded.source.path),
        "name": name or loaded.source.name,
        "lake": str(lake.absolute()),
        "config": loaded,
        "backend": check_backend(backend),
    }
    check_request(parameters)
    check_models(loaded)
    supervise(lake)
    report(run_build(parameters, quiet=as_json), as_json=as_json)


def plan(
    lake: LakeOption,
    source: SourceArgument = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict clips, frames, bytes and time of a build from headers alone."""
    from flows.plan import make_plan

    loaded = load_config(config)
    check_models(loaded)
    predicted = make_plan(Lake.open(lake, create=True), source or loaded.source.path, loaded)
    if as_json:
        emit(predicted.to_json())
        return
    console.print(
        f"{predicted.clips:,} clips ({predicted.known:,} known to the lake, "
        f"{predicted.unreadable:,} unreadable), {predicted.frames:,} frames, "
        f"{human_bytes(predicted.source_bytes)} of sources"
    )
    show_table(predicted.stages)
    console.print(
        f"about [bold]{predicted.seconds:,.0f} s[/bold] on {predicted.workers} workers, "
        f"{human_bytes(predicted.release_bytes)} of release; "
        f"bottleneck: [bold]{predicted.bottleneck}[/bold]"
    )


def config() -> None:
    """Print a config that explains itself: every key, its default, what is allowed."""
    print(default_toml(), end="")


def rerun(
    lake: LakeOption,
    name: Annotated[str, typer.Argument(help="Name of the release.")],
    backend: BackendOption,
    stage: Annotated[str, typer.Option(help="Only this stage.")] = "",
    only: Annotated[Only, typer.Option(help="Which outcomes to compute again.")] = Only.FAILED,
    where: Annotated[
        str, typer.Option(help="SQL condition on the columns of view `outcomes`.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Compute outcomes again: failed, quarantined, rejected, stale, or all of a stage."""
    opened = Lake.open(lake)
    recipe = read_recipe(opened, name)
    config = parse_config(recipe.config, f"the recipe of {name}")
    check_backend(backend)
    check_models(config)
    supervise(lake)
    voided = void_outcomes(opened, recipe, config, stage=stage, only=only, where=where)
    if not as_json:
        console.print(f"{voided:,} outcomes will be computed again")
    rebuild(opened, recipe, config, backend, as_json=as_json)


@schedule_app.command("build")
def schedule_build(
    lake: LakeOption,
    config: Annotated[Path, typer.Argument(help="TOML file with [source] path and name.")],
    cron: Annotated[str, typer.Option(help='Five fields, e.g. "0 2 * * *".')],
) -> None:
    """Build on a schedule, for as long as this process runs; each run takes up what is new."""
    loaded = load_config(config)
    parameters = {
        "source": absolute_source(loaded.source.path),
        "name": loaded.source.name,
        "lake": str(lake.absolute()),
        "config": loaded,
        "backend": load_settings().backend,
    }
    check_request(parameters, origin=str(config))
    check_models(loaded)
    supervise(lake)
    from flows.build import build_dataset
    from flows.serving import serve_schedule

    console.print(f"building {loaded.source.name} at {cron!r}; Ctrl-C ends the schedule")
    serve_schedule(build_dataset, f"build-{loaded.source.name}", parameters, cron)


def rebuild(lake: Lake, recipe: Recipe, config: Any, backend: str, *, as_json: bool) -> None:
    """Build a release again as its recipe says, and show what it came to."""
    parameters = {
        "source": recipe.source,
        "name": recipe.name,
        "lake": str(lake.root),
        "config": config,
        "backend": backend,
    }
    report(run_build(parameters, quiet=as_json), as_json=as_json)


def check_backend(backend: str) -> str:
    """The backend, if there is one of that name."""
    if backend not in ("ray", "inline"):
        raise UsageError(f"no backend is called {backend!r}; allowed are ray and inline")
    return backend


def check_models(config: Any) -> None:
    """Refuse a build whose models cannot run, before anything is started."""
    require(config.stages(), config.engine.stage_resources())


def absolute_source(source: str) -> str:
    """The source as another process, in another working folder, would have to name it."""
    return str(Path(source).absolute()) if source and "://" not in source else source


def check_request(parameters: dict[str, Any], *, origin: str = "") -> None:
    """Refuse a build without source or name before anything is started."""
    for key, option in (("source", "SOURCE"), ("name", "--name")):
        if not parameters[key]:
            where = f"{origin}: [source] {'path' if key == 'source' else key}"
            raise UsageError(
                f"no {key} was given",
                hint=f"set {where}" if origin else f"give {option}, or set it in --config FILE",
            )
    check_name(parameters["name"])
    source = parameters["source"]
    if "://" not in source and not glob.has_magic(source) and not os.path.lexists(source):
        raise UsageError(
            f"there is no {source!r} here ({Path.cwd()})",
            hint="name a folder, a file, a quoted glob, an fsspec URL, or a CSV or Parquet list",
        )


def report(summary: dict[str, Any], *, as_json: bool) -> None:
    """Show what a build came to, and end with code 6 if clips failed."""
    if as_json:
        emit(summary)
    else:
        show_summary(summary)
    if summary["verdicts"].get("failed") or summary["verdicts"].get("quarantined"):
        end(TROUBLED)


def clip_rows(lake: Lake, name: str) -> list[dict[str, Any]]:
    """A line a clip of a release: verdict, quality, and the reason where it was not kept."""
    from catalog.verdicts import WORDS, verdict

    fingerprints = read_recipe(lake, name).fingerprints
    members = sorted(read_members(lake, name), key=lambda member: member.label)
    outcomes = lake.outcomes.of([member.clip for member in members], fingerprints)
    rows = []
    for member in members:
        made = outcomes[member.clip]
        status, stage, reason = verdict(made, list(fingerprints))
        quality = made.get("quality")
        score = quality.score if quality else None
        rows.append(
            {
                "clip": member.label,
                "verdict": WORDS[status],
                "quality": "" if score is None else f"{score:.2f}",
                "by": "" if status == "done" else stage,
                "reason": reason,
            }
        )
    return rows


def show_summary(summary: dict[str, Any]) -> None:
    """Print the tables of a finished build."""
    from catalog.verdicts import WORDS

    if summary["computed"]:
        show_table(summary["stages"], title="computed")
    else:
        console.print("nothing had to be computed: every outcome was there")
    if summary["turned_down"]:
        rows = [{**row, "verdict": WORDS[row["verdict"]]} for row in summary["turned_down"]]
        show_table(rows, title="not kept")
    verdicts = ", ".join(
        f"{summary['verdicts'][status]} {word}"
        for status, word in WORDS.items()
        if summary["verdicts"].get(status)
    )
    console.print(f"{summary['clips']} clips: {verdicts}, in {summary['seconds']:.1f} s")
    if summary["version"]:
        console.print(f"release [bold]{summary['name']}[/bold] {summary['version']}")
        show_path(summary["path"], "  in ")
    else:
        console.print("no clip was kept, so there is no release")
