"""Commands about benchmarks: ls, validate, run, compare, report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.common import (
    TROUBLED,
    JsonOption,
    LakeOption,
    console,
    emit,
    end,
    show_path,
    show_table,
)
from flows.cli.driver import run_benchmark, supervise
from flows.cli.judged import (
    benchmark_row,
    method_row,
    metric_rows,
    show_comparison,
    show_findings,
    show_run,
    show_worse,
    votes,
)
from infra.errors import UsageError

if TYPE_CHECKING:
    from evaluation.protocols.tables import Protocol
    from flows.entrants import Entrant

benchmark_app = typer.Typer(
    help="Judge methods by a protocol, and report what was found.", no_args_is_help=True
)

ProtocolArgument = Annotated[
    str, typer.Argument(help="A protocol's name (limelight benchmark ls), or a TOML file.")
]
ReleaseOption = Annotated[
    str, typer.Option("--release", help="Judge on the held-out clips of this release.")
]
FolderOption = Annotated[
    str,
    typer.Option("--source", help="Judge on these clips: a folder, a glob, a URL, or a list."),
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="METHOD or NAME=METHOD, for another name; may be repeated. The protocol's without.",
    ),
]
OptionOption = Annotated[
    list[str] | None,
    typer.Option("--option", help="Of a method: NAME.option=value; may be repeated."),
]
MetricOption = Annotated[
    list[str] | None,
    typer.Option("--metric", help="What is measured; may be repeated. The usual ones without."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="A key of the protocol, table.key=value; may be repeated."),
]
AgainstOption = Annotated[
    str,
    typer.Option(
        "--against",
        help="A previous benchmark or record: say what is worse, and end with code 6 if any is.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(benchmark_app, name="benchmark")


@benchmark_app.command("ls")
def list_all(lake: LakeOption, as_json: JsonOption = False) -> None:
    """Protocols, methods and metrics, what of them can be used here, and what was judged."""
    from catalog.lake import Lake
    from evaluation.methods.registry import METHODS
    from evaluation.protocols.read import PROTOCOLS, load_protocol
    from flows.benchmarks import benchmark_folder, benchmark_names

    protocols = [load_protocol(name) for name in PROTOCOLS]
    benchmarks: list[dict[str, Any]] = []
    if lake.is_dir():
        opened = Lake.open(lake)
        names = benchmark_names(opened)
        benchmarks = [benchmark_row(name, benchmark_folder(opened, name).record) for name in names]
    tables: dict[str, list[dict[str, Any]]] = {
        "protocols": [
            {"name": p.name, "mode": p.mode, "pixels": p.size, "title": p.title} for p in protocols
        ],
        "methods": [method_row(name, lake) for name in METHODS],
        "metrics": metric_rows([]),
        "benchmarks": benchmarks,
    }
    if as_json:
        emit(tables)
        return
    for title, rows in tables.items():
        show_table(rows, title=title)
        if rows:
            console.print()


@benchmark_app.command()
def validate(
    protocol: ProtocolArgument,
    lake: LakeOption,
    release: ReleaseOption = "",
    source: FolderOption = "",
    methods: MethodOption = None,
    options: OptionOption = None,
    metrics: MetricOption = None,
    changes: SetOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Print the protocol instead, explained, as TOML.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a benchmark without running it: what would be judged, on how much, how measured."""
    from catalog.lake import Lake
    from evaluation.protocols.counting import cases_each, count_clips
    from evaluation.protocols.read import protocol_toml
    from flows.entrants import contestant, entrants, require_one

    chosen = _protocol(protocol, release, source, changes)
    if everything:
        print(protocol_toml(chosen), end="")
        return
    root = str(lake.absolute())
    stand = [
        contestant(name, entrant, chosen.mode, root)
        for name, entrant in entrants(chosen, _entrants(methods, options)).items()
    ]
    clips = count_clips(chosen, Lake.open(lake) if lake.is_dir() else None)
    each = cases_each(chosen)
    told = {
        "protocol": chosen.name,
        "clips": clips,
        "cases": clips * each,
        "films": clips * each * sum(not one.unavailable for one in stand),
    }
    rows = [{"method": one.name, "here": one.unavailable or "yes"} for one in stand]
    measured = metric_rows(metrics or [], chosen.mode)
    if as_json:
        emit({**told, "methods": rows, "metrics": measured})
    else:
        console.print(
            f"{chosen.name}: clips: {clips:,} at most; {_CASES[chosen.mode]} for each: {each};"
            f" films: {told['films']:,}, up to {chosen.cut.frames} frames of {chosen.size} pixels",
            soft_wrap=True,
        )
        show_table(rows)
        console.print()
        show_table(measured)
    require_one(stand)


_CASES: Mapping[str, str] = {"relight": "lights", "animate": "portraits"}


@benchmark_app.command()
def run(
    protocol: ProtocolArgument,
    lake: LakeOption,
    release: ReleaseOption = "",
    source: FolderOption = "",
    name: Annotated[
        str, typer.Option("--name", help="Of the benchmark; the protocol's without.")
    ] = "",
    methods: MethodOption = None,
    options: OptionOption = None,
    metrics: MetricOption = None,
    changes: SetOption = None,
    against: AgainstOption = "",
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Write over a record of this name by another protocol."),
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Let methods try again where they failed before.")
    ] = False,
    gpus: Annotated[
        float | None,
        typer.Option("--gpus", min=0, help="GPUs a worker takes; one each where there are any."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a benchmark; what is there already is neither generated nor measured again."""
    from evaluation.metrics.registry import choose
    from flows.benchmarks import find_record
    from flows.entrants import contestant, entrants, require_one, settled

    chosen = absolute_protocol(_protocol(protocol, release, source, changes))
    asked = {
        label: settled(entrant, str(lake.absolute()))
        for label, entrant in _entrants(methods, options).items()
    }
    before = find_record(lake, against).absolute() if against else None
    if before and before.parent == _folder(lake, name or chosen.name):
        raise UsageError(
            f"--against {against} is the record that this run writes anew",
            hint="give this run another --name, or keep a copy of that record",
        )
    # What was mistyped is better said before anything is started.
    root = str(lake.absolute())
    require_one([contestant(*e, chosen.mode, root) for e in entrants(chosen, asked).items()])
    choose(metrics or [], chosen.mode)
    supervise(lake)
    parameters = {
        "lake": str(lake.absolute()),
        "protocol": chosen,
        "name": name or chosen.name,
        "methods": asked,
        "metrics": metrics or [],
        "retry": retry,
        "before": str(before or ""),
        "replace": replace,
        "gpus": gpus,
    }
    told = run_benchmark(parameters, quiet=as_json)
    if as_json:
        emit(told)
    else:
        show_run(told)
        show_path(told["page"], "report: ")
    if told["worse"] or not (told["cells"]["made"] or told["cells"]["there before"]):
        end(TROUBLED)


@benchmark_app.command()
def compare(
    before: Annotated[str, typer.Argument(help="A benchmark's name, or a record.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    lake: LakeOption,
    as_json: JsonOption = False,
) -> None:
    """Say what is better, the same or worse; ends with code 6 where something is worse or lost."""
    from evaluation.records.compare import compare as held
    from flows.benchmarks import load_benchmark

    comparison = held(load_benchmark(lake, before)[0], load_benchmark(lake, after)[0])
    if as_json:
        emit(
            {
                "regressed": comparison.regressed,
                "changes": [vars(change) for change in comparison.changes],
                "lost": list(comparison.lost),
            }
        )
    else:
        show_comparison(comparison)
    if comparison.regressed or not comparison.judged:
        end(TROUBLED)


@benchmark_app.command()
def report(
    benchmark: Annotated[str, typer.Argument(help="A benchmark's name, or its folder.")],
    lake: LakeOption,
    against: AgainstOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write a benchmark's report anew, with the votes of its study so far; measures nothing."""
    from evaluation.records.compare import compare as held
    from flows.benchmarks import load_benchmark
    from flows.findings import publish, worse

    record, folder = load_benchmark(lake, benchmark)
    before = load_benchmark(lake, against)[0] if against else None
    record = publish(record, folder, before)
    lines = worse(held(before, record)) if before else []
    if as_json:
        emit({"page": str(folder.page), "votes": votes(record), "worse": lines})
    else:
        show_findings(record)
        if record.study:
            console.print(f"with {votes(record):,} votes of its study")
        show_path(folder.page, "report: ")
        show_worse(lines)
    if lines:
        end(TROUBLED)


def _protocol(name: str, release: str, folder: str, changes: list[str] | None) -> "Protocol":
    from evaluation.protocols.read import load_protocol

    # Quoted as TOML has it: a folder may be called 2024.
    given = [f"source.release={json.dumps(release)}"] if release else []
    given += [f"source.folder={json.dumps(folder)}"] if folder else []
    return load_protocol(name, [*given, *(changes or [])])


def _entrants(methods: list[str] | None, options: list[str] | None) -> "dict[str, Entrant]":
    from flows.entrants import parse_entrants

    return parse_entrants(methods or [], options or [])


def absolute_protocol(protocol: "Protocol") -> "Protocol":
    """A protocol as another process, in another working folder, has to be told of it."""
    from flows.cli.build import absolute_source

    tables = {
        name: table.model_copy(update={"folder": absolute_source(table.folder)})
        for name in ("source", "lights", "portraits")
        for table in (getattr(protocol, name),)
    }
    return protocol.model_copy(update=tables)


def _folder(lake: Path, name: str) -> Path:
    """Where a benchmark of that name is, or will be."""
    from flows.benchmarks import RUNS

    return lake.absolute() / RUNS / name
