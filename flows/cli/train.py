"""Commands about training: train, cache, runs."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from catalog.lake import Lake
from catalog.release import Release
from flows.cli.benchmark import absolute_protocol
from flows.cli.common import (
    JsonOption,
    LakeOption,
    bars,
    console,
    emit,
    human_bytes,
    show_path,
    show_table,
)
from flows.cli.driver import run_training, supervise
from flows.cli.judged import show_run
from flows.cli.recipes import explain as explain_recipes
from flows.runs import TrainingRun, read_run, read_runs, request_of, run_folder
from infra.errors import UsageError
from training.recipe import RECIPES, Recipe, load_recipe, override_recipe

RecipeOption = Annotated[
    str, typer.Option("--recipe", help=f"{', '.join(RECIPES)}, or a TOML file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="A key of the recipe, table.key=value; may be repeated."),
]
ReleaseArgument = Annotated[str, typer.Argument(help="Name of the release.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(train)
    app.command()(cache)
    app.command()(runs)


def train(
    lake: LakeOption,
    release: ReleaseArgument = "",
    recipe: RecipeOption = "lcvd",
    name: Annotated[
        str, typer.Option("--name", help="Name of the run; RELEASE-RECIPE without.")
    ] = "",
    steps: Annotated[
        int,
        typer.Option(
            "--steps",
            min=0,
            help="Optimizer steps; the recipe's without. With the cosine schedule a run that goes"
            " on to another number takes the rest at other rates.",
        ),
    ] = 0,
    changes: SetOption = None,
    launcher: Annotated[
        str, typer.Option("--launcher", help="torchrun, or ray: on the cluster of the settings.")
    ] = "torchrun",
    ranks: Annotated[
        int, typer.Option("--ranks", min=0, help="Processes; one for each GPU without, or one.")
    ] = 0,
    encode: Annotated[
        bool, typer.Option("--cache", help="Encode all pictures beforehand (limelight cache).")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run --name, as it began.")
    ] = False,
    benchmark: Annotated[
        str,
        typer.Option(
            "--benchmark", help="Then judge the model by this protocol: a name or a file."
        ),
    ] = "",
    benchmark_changes: Annotated[
        list[str] | None,
        typer.Option("--benchmark-set", help="A key of that protocol, table.key=value."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Only show in what the recipes differ.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --explain: the whole recipe, explained, as TOML.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model on a release; the same run again goes on where it was."""
    from flows.trainer import Order, Training

    overrides = [*(changes or []), *([f"run.steps={steps}"] if steps else [])]
    if explain:
        explain_recipes(recipe, overrides, everything=everything, as_json=as_json)
        return
    version = ""
    if resume:
        release, version, loaded, name = _begun(lake, release, name, overrides)
    else:
        loaded = load_recipe(recipe, overrides)
    if not release:
        raise UsageError("no release was given", hint="limelight train RELEASE")
    order = Order(
        release=release,
        recipe=loaded,
        name=name or f"{release}-{loaded.name}",
        version=version,
        launcher=launcher,
        ranks=ranks,
        cache=encode,
    )
    protocol = _protocol(benchmark, benchmark_changes)
    training = Training(Lake.open(lake), order)
    if training.finished and protocol is None:
        _report(training.run().to_json(), as_json=as_json)
        return
    supervise(lake)
    parameters = {"lake": str(lake.absolute()), **vars(order), "benchmark": protocol}
    _report(run_training(parameters, quiet=as_json), as_json=as_json)


def cache(
    lake: LakeOption,
    release: ReleaseArgument,
    recipe: RecipeOption = "lcvd",
    changes: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encode a release's pictures once, so that training need not; only what is missing."""
    from flows.latents import cache_of, fill, require_cacheable, standing

    loaded = load_recipe(recipe, changes or [])
    require_cacheable(loaded)
    opened = Lake.open(lake)
    found = Release.open(opened, release)
    before = standing(opened, found, loaded)
    total = before.done + len(before.missing)
    if not as_json:
        console.print(
            f"{before.done:,} of {total:,} entries are there, {human_bytes(before.bytes)}"
        )
    with bars(remaining=True, hidden=as_json or not before.missing) as bar:
        task = bar.add_task("encoding", total=total)
        after = before
        if before.missing:
            after = fill(opened, found, loaded, lambda done, _: bar.update(task, completed=done))
    folder = cache_of(opened, loaded).folder
    encoded = after.done - before.done
    if as_json:
        emit({"encoded": encoded, "entries": total, "bytes": after.bytes, "folder": str(folder)})
        return
    console.print(f"encoded {encoded:,}; all {total:,} are {human_bytes(after.bytes)}")
    show_path(folder, "  in ")


def runs(
    lake: LakeOption,
    name: Annotated[str, typer.Argument(help="Name of a run; all without.")] = "",
    page: Annotated[
        Path | None, typer.Option("--page", help="Also write this HTML page about the run.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Also write its model here, under LCVD's own file names."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List training runs: where each stands, its losses, its model."""
    opened = Lake.open(lake)
    if (page or export) and not name:
        raise UsageError("--page and --export are about one run", hint="limelight runs NAME ...")
    if name:
        run = read_run(opened, name)
        told = run.to_json()
        if page:
            from evaluation.run_page import write_run_page

            write_run_page(run_folder(opened, name), page)
            told["page"] = str(page)
        if export:
            _export(run, export)
            told["export"] = str(export)
        _report(told, as_json=as_json)
        return
    found = read_runs(opened)
    if as_json:
        emit([run.to_json() for run in found])
        return
    if not found:
        console.print("no training run yet: limelight train RELEASE")
    show_table([run.row() for run in found])
    for run in found:
        if run.reason:
            console.print(f"{escape(run.name)}: {escape(run.reason)}", soft_wrap=True)


def _begun(
    lake: Path, release: str, name: str, overrides: list[str]
) -> tuple[str, str, Recipe, str]:
    """Release, version, recipe and name of a run that is to go on."""
    opened = Lake.open(lake)
    if not name:
        raise UsageError("which run is to go on?", hint="give --name; limelight runs lists them")
    request = request_of(opened, name)
    if release and release != request.release:
        raise UsageError(f"the run {name} is trained on {request.release}, not on {release}")
    recipe = override_recipe(request.recipe, overrides)
    return request.release, request.version, recipe, name


def _export(run: TrainingRun, folder: Path) -> None:
    """Write a run's model under the names of LCVD's authors."""
    if not run.model:
        raise UsageError(
            f"the run {run.name} is {run.state} at step {run.step} of {run.steps}, and has no"
            " model yet",
            hint=f"train it to its end: limelight train --resume --name {run.name}",
        )
    from flows.trainer import require_packages

    require_packages(("torch", "diffusers", "safetensors"))
    import torch

    from training.model.folder import load_model, save_official

    loaded = load_model(Path(run.model), torch.device("cpu"), torch.float32)
    save_official(folder, loaded.lcvd)


def _protocol(name: str, changes: list[str] | None) -> Any:
    """The protocol that a model is to be judged by; None for none."""
    from evaluation.protocols.read import load_protocol

    if not name and changes:
        raise UsageError("--benchmark-set changes a protocol, but none was named: --benchmark NAME")
    return absolute_protocol(load_protocol(name, changes or [])) if name else None


def _report(run: dict[str, Any], *, as_json: bool) -> None:
    """Show what became of a run."""
    if as_json:
        emit(run)
        return
    page, export = run.pop("page", ""), run.pop("export", "")
    judged = run.pop("benchmark", None)
    told = TrainingRun(**run)
    console.print(
        f"run [bold]{escape(told.name)}[/bold] {told.state}: step {told.step:,} of {told.steps:,}"
        f" on {escape(told.release)} {told.version}, recipe {escape(told.recipe)}"
    )
    if told.reason:
        console.print(escape(told.reason), soft_wrap=True)
    show_table(told.losses())
    if told.model:
        show_path(told.model, "  model in ")
    show_path(Path(told.folder) / "previews", "  previews in ")
    show_path(Path(told.folder) / "tensorboard", "  tensorboard --logdir ")
    if judged:
        show_run(judged)
        show_path(judged["page"], "  benchmark: ")
    if page:
        show_path(page, "  page: ")
    if export:
        show_path(export, "  exported to ")
