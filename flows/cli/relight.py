"""The command that relights a video."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import Progress, TaskID

from flows.cli.common import JsonOption, LakeOption, bars, console, emit, show_path
from infra.threads import yielding_threads
from stages.matting import MattingConfig
from training.recipe import Detail
from training.relight.align import Align
from training.relight.composite import Background
from training.relight.options import Mode, RelightOptions

_PARTS = {
    "track": "following the face",
    "fit": "fitting its light",
    "draw": "drawing conditions",
    "sample": "sampling",
    "write": "writing",
}

DrivingOption = Annotated[
    Path, typer.Option("--driving", help="Video that says how the face moves; or a picture.")
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option("--reference", help="Portrait to be moved; the driving video's own face without."),
]
LightOption = Annotated[
    str,
    typer.Option(
        "--light",
        help="A picture with a face, a preset (soft, rembrandt, split, rim, ...), a direction"
        " (left, top-right, ..., or azimuth,elevation), orbit, reference, or a JSON file: nine"
        " coefficients, or a list of lights over time.",
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model", help="A model folder, a run, or official; the run that finished last without."
    ),
]
AlignOption = Annotated[
    Align, typer.Option("--align", help="How the motion is carried over to a --reference.")
]
ModeOption = Annotated[
    Mode,
    typer.Option("--mode", help="animate moves it under its own light, landmarks by its features."),
]
BackgroundOption = Annotated[
    Background,
    typer.Option("--background", help="The original ground, or one generated with the portrait."),
]
DetailOption = Annotated[
    Detail | None,
    typer.Option(
        "--detail",
        help="Whose pixels: the model's (generated), or the film's own under the model's change of"
        " light (original); the model's choice without.",
    ),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option("--guidance", min=0, help="Weight of the light; the model's without."),
]
IdentityOption = Annotated[
    float | None,
    typer.Option("--identity", min=0, help="Weight of the reference; the model's without."),
]
GeometryOption = Annotated[
    Literal["mediapipe_mesh", "deca"] | None,
    typer.Option("--geometry", help="Shape and light; what the model was trained with without."),
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(relight)


def relight(
    lake: LakeOption,
    driving: DrivingOption,
    output: Annotated[Path, typer.Option("--output", help="The .mp4 file to write.")],
    reference: ReferenceOption = None,
    light: LightOption = "",
    model: ModelOption = "",
    mode: ModeOption = "relight",
    align: AlignOption = "so3",
    guidance: GuidanceOption = None,
    identity: IdentityOption = None,
    intensity: Annotated[float, typer.Option("--intensity", help="Factor on the light.")] = 1.0,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Sampling steps; the model's without.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the noise.")] = 0,
    frames: Annotated[
        int | None,
        typer.Option("--frames", min=1, help="Frames at most; a picture becomes as many."),
    ] = None,
    background: BackgroundOption = "composite",
    detail: DetailOption = None,
    geometry: GeometryOption = None,
    matting: Annotated[
        Literal["selfie", "u2net_human_seg", "u2netp"],
        typer.Option("--matting", help="What tells the portrait from the ground."),
    ] = "selfie",
    crf: Annotated[
        int, typer.Option("--crf", min=0, max=51, help="Rate factor of x264; less is better.")
    ] = 16,
    grid: Annotated[
        bool, typer.Option("--grid/--no-grid", help="Also write OUT.grid.mp4 and OUT.sheet.jpg.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Relight a video, or let a portrait move as a video does, under a light of your choice."""
    yielding_threads()
    from training.relight.models import choose_model
    from training.relight.relight import relight as run
    from training.relight.relight import trained_geometry

    loaded = choose_model(lake, model)
    options = RelightOptions(
        mode=mode,
        align=align,
        background=background,
        detail=detail,
        intensity=intensity,
        guidance=guidance,
        identity=identity,
        steps=steps,
        seed=seed,
        frames=frames,
        geometry=trained_geometry(loaded.facts, geometry or ""),
        matting=MattingConfig(model=matting),
        crf=crf,
        grid=grid,
    )
    with relight_bars(hidden=as_json) as progress:
        made = run(
            loaded,
            driving,
            output,
            reference=reference,
            light=light or None,
            options=options,
            progress=progress,
        )
    if as_json:
        files = {name: getattr(made, name) for name in ("output", "grid", "sheet", "record")}
        emit({key: told for key, told in made.facts.items() if key != "coefficients"} | files)
        return
    _report(made.facts)
    show_path(made.output)
    for path, words in ((made.grid, "  side by side in "), (made.sheet, "  a few frames in ")):
        if path is not None:
            show_path(path, words)
    show_path(made.record, "  how it was made in ")


class _Progress:
    """A bar for each part of the work, from when it begins."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, part: str, done: int, total: int | None) -> None:
        if part not in self._tasks:
            self._tasks[part] = self._display.add_task(_PARTS[part], total=total)
        self._display.update(self._tasks[part], completed=done, total=total)


@contextmanager
def relight_bars(*, hidden: bool) -> Iterator[_Progress]:
    """A progress display for `training.relight.relight.relight`."""
    with bars(remaining=True, hidden=hidden) as display:
        yield _Progress(display)


def _report(facts: dict[str, Any]) -> None:
    seconds = sum(facts["seconds"].values())
    light = f"light {facts['light']}, " if facts["mode"] == "relight" else ""
    console.print(
        f"{facts['frames']:,} frames in {seconds:.1f} s: {light}{facts['steps']} steps,"
        f" seed {facts['seed']}, model {facts['model'][:12]}",
        markup=False,
        soft_wrap=True,
    )
