"""The demo: from raw clips to a release, a model and a benchmark, with one command."""

from pathlib import Path
from typing import Annotated

import typer

from catalog.lake import Lake
from flows.cli.build import clip_rows, show_summary
from flows.cli.common import JsonOption, LakeOption, console, emit, show_path, show_table
from flows.cli.driver import run_build, run_training, supervise
from flows.cli.judged import show_run
from flows.cli.relight import relight_bars
from infra.threads import yielding_threads


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(demo)


def demo(
    lake: LakeOption,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=0, help="Of training; 0 leaves out all that needs a model."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Most frames that are judged and relit.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build a release from six real clips, train and judge a small model, and relight a clip."""
    supervise(lake, keep_server=False)
    yielding_threads()
    from evaluation.preview import write_preview
    from flows import demo as parts

    root = lake.absolute()
    summary = run_build(parts.build_parameters(root), quiet=as_json)
    told = {
        "preview": write_preview(Lake.open(root), parts.NAME, root.with_name("demo-preview.html"))
    }
    if not as_json:
        show_table(clip_rows(Lake.open(root), parts.NAME), title="clips")
        show_summary({**summary, "turned_down": []})
    answer = {**summary, "preview": str(told["preview"])}
    if steps != 0:
        run = run_training(parts.training_parameters(root, steps, frames), quiet=as_json)
        told["benchmark"] = Path(run["benchmark"]["page"])
        if not as_json:
            show_run(run["benchmark"])
        with relight_bars(hidden=as_json) as progress:
            shown = parts.relight_held_out(root, run, progress, frames)
        told |= {"training": shown.page, **shown.films}
        answer |= {"run": run, **shown.to_json()}
        if not as_json:
            for sentence in shown.findings:
                console.print(sentence, markup=False, soft_wrap=True)
    if as_json:
        emit(answer)
        return
    for words, path in told.items():
        show_path(path, f"{words}: ")
