"""The command that asks people: a blind study of a benchmark's films."""

from typing import Annotated, Any

import typer

from evaluation.study import PORT
from flows.cli.common import LakeOption, console, show_table

PortOption = Annotated[
    int, typer.Option("--port", min=0, max=65_535, help="0 takes any that is free.")
]
TrialsOption = Annotated[
    int | None,
    typer.Option(
        "--trials",
        min=1,
        help="Clips under a light that each participant rates; all, or as the study began.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(study)


def study(
    lake: LakeOption,
    run: Annotated[
        str, typer.Argument(help="A benchmark that was run, by its name or its folder.")
    ],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at: with another, others can vote.")
    ] = "127.0.0.1",
    port: PortOption = PORT,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Decides who is shown what; 0, or as the study began."),
    ] = None,
    trials: TrialsOption = None,
) -> None:
    """Let people rate a benchmark's films side by side, not knowing whose they are."""
    from evaluation.study.server import serve_study
    from evaluation.study.summary import summarise_study
    from flows.benchmarks import find_record

    folder = find_record(lake, run).parent
    serve_study(folder, host=host, port=port, seed=seed, trials=trials, said=_say)
    found = summarise_study(folder)
    if found is None:
        _say("Nobody has voted yet.")
        return
    show_table([_row(method, found) for method in found["methods"]])
    _say(
        f"{found['votes']:,} votes of {found['participants']:,} people: means of 1 to 5, and where"
        " other people's might lie (95%)."
    )
    if found["strays"]:
        _say(f"{found['strays']:,} votes are about films that the benchmark no longer has.")
    _say(f"Into the report with them: limelight benchmark report {run}")


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


def _row(method: str, found: dict[str, Any]) -> dict[str, str]:
    answers = found["methods"][method]
    said = {each["column"]: answers.get(each["key"]) for each in found["questions"]}
    return {"method": method} | {column: _opinion(told) for column, told in said.items()}


def _opinion(told: dict[str, Any] | None) -> str:
    """A mean and its interval; fewer than two people have none."""
    if told is None:
        return ""
    between = told["interval"]
    return f"{told['mean']:.2f}" + (f" ({between[0]:.2f} to {between[1]:.2f})" if between else "")
