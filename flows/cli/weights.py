"""Commands about weights: what there is and is not, how to get it, whether it is right."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
    track,
)

from flows.cli.common import (
    JsonOption,
    console,
    emit,
    end,
    human_bytes,
    show_path,
    show_table,
    stderr,
)
from infra import weights
from infra.errors import UsageError, WeightsError
from stages.models.offer import Offer

_EXPORT = Offer("stages.models.u2net.export:export_onnx", packages=("torch", "safetensors"))

weights_app = typer.Typer(
    help="Files that Limelight loads but does not ship.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(weights_app, name="weights")


@weights_app.command("list")
def list_weights(as_json: JsonOption = False) -> None:
    """What is here, what is missing, what it unlocks, and its licence."""
    found = [weights.standing(name) for name in weights.registry()]
    if as_json:
        emit([_facts(each) for each in found])
        return
    show_table([_row(each) for each in found])
    absent = [each.weight for each in found if each.state == "absent"]
    fetchable = [weight.name for weight in absent if weights.sources_of(weight)]
    by_hand = [weight.name for weight in absent if not weights.sources_of(weight)]
    for names, words in (
        (fetchable, "fetched with `limelight weights pull NAME`, or `--all`"),
        (by_hand, "to be got by hand; `limelight weights pull NAME` says where"),
    ):
        if names:
            console.print(f"{', '.join(names)}: {words}", markup=False)


@weights_app.command("pull")
def pull_weights(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names; those of the embedded models without.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that can be fetched without registering.")
    ] = False,
    path: Annotated[
        Path | None, typer.Option("--from", help="A file got by hand, for the one name given.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="With --from: accept it in place of another one.")
    ] = False,
) -> None:
    """Fetch weights, verify them, convert what is pickled, and keep them in the cache."""
    chosen = _chosen(names or [], everything)
    if (path or replace) and len(chosen) != 1:
        raise UsageError(
            f"--from and --replace are about one weight, not {len(chosen)}",
            hint="limelight weights pull NAME --from PATH",
        )
    troubles: list[WeightsError] = []
    with _bars() as progress:
        for name in chosen:
            try:
                ready = weights.pull(name, progress, path=path, replace=replace)
            except WeightsError as error:
                troubles.append(error)
            else:
                show_path(ready, f"{name}: ")
                _show_licence(weights.find_weight(name))
    if troubles:
        raise weights.together(troubles)
    if not names and not everything:
        console.print("the standard models: `limelight weights list` says what they are")


@weights_app.command("verify")
def verify_weights(as_json: JsonOption = False) -> None:
    """Hash every weight that is here, and compare it with its digest."""
    names = list(weights.registry())
    silent = not stderr.is_interactive
    found = [
        weights.verify(name)
        for name in track(names, "hashing", console=stderr, transient=True, disable=silent)
    ]
    here = [each for each in found if each.state != "absent"]
    damaged = [each for each in here if each.state == "damaged"]
    if as_json:
        emit([_facts(each) for each in found])
    else:
        for each in damaged:
            name, why = each.weight.name, each.reason or "another file than it should be"
            stderr.print(
                f"[red]{name}[/red] is damaged ({escape(f'{each.path}: {why}')}): "
                f"limelight weights pull {name}",
                soft_wrap=True,
            )
    if damaged:
        end(4)
    if not as_json:
        console.print(
            f"{len(here)} of {len(found)} weights are here, each as published, or as it was when "
            "first met"
            if here
            else "no weights are here: nothing was verified"
        )


@weights_app.command("export")
def export_weight(
    name: Annotated[str, typer.Argument(help="u2net_human_seg_torch or u2netp_torch.")],
    path: Annotated[Path, typer.Argument(help="The ONNX file to be made.")],
) -> None:
    """Write a torch checkpoint of U2Net as ONNX."""
    exported = {"u2net_human_seg_torch": "u2net_human_seg", "u2netp_torch": "u2netp"}
    if name not in exported:
        raise UsageError(
            f"the weight {name} cannot be exported; {' and '.join(exported)} can",
            hint="limelight weights export u2netp_torch u2netp.onnx",
        )
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise UsageError(f"{path} cannot be a file", hint="name one in a folder that is there")
    export_onnx = _EXPORT.load()
    # Torch is imported only here: all other commands do without.
    import torch

    from stages.models.nets import load_state, ready_net
    from stages.models.u2net.network import NETWORKS

    net = NETWORKS[exported[name]]()
    export_onnx(ready_net(net, load_state(name), name=name, device=torch.device("cpu")), path)
    show_path(path, f"{name}: ")


def _chosen(names: list[str], everything: bool) -> list[str]:
    if names and everything:
        raise UsageError("--all is for all of them: give no names with it", hint="drop one")
    known = weights.registry()
    if everything:
        return [name for name, weight in known.items() if weights.sources_of(weight)]
    for name in names:
        weights.find_weight(name)
    return list(dict.fromkeys(names)) or [name for name, each in known.items() if each.embedded]


def _show_licence(weight: weights.Weight) -> None:
    """Say what a standard model's licence asks; the embedded ones are free to use."""
    if not weight.embedded:
        console.print(f"  {weight.licence}: {weight.terms}", markup=False, soft_wrap=True)


def _row(found: weights.Standing) -> dict[str, Any]:
    weight = found.weight
    size = found.path.stat().st_size if found.path and not found.reason else weight.size
    return {
        "name": weight.name,
        "state": _state(found),
        "size": human_bytes(size) if size else "",
        "licence": weight.licence,
        "unlocks": weight.unlocks,
    }


def _state(found: weights.Standing) -> str:
    """In one word: a file whose digest nobody publishes is no more than what it was before."""
    if found.state == "present":
        return "here" if found.weight.sha256 else "pinned" if found.wanted else "here, unpinned"
    return "missing" if found.state == "absent" else "damaged"


def _facts(found: weights.Standing) -> dict[str, Any]:
    weight = found.weight
    return {
        "name": weight.name,
        "state": found.state,
        "reason": found.reason or None,
        "digest": found.digest or None,
        "wanted": found.wanted or None,
        "pinned": bool(found.wanted) and not weight.sha256,
        "path": found.path,
        "by_hand": not weights.sources_of(weight),
        **weight.model_dump(
            include={"kind", "purpose", "unlocks", "file", "size", "licence", "terms"}
        ),
    }


@contextmanager
def _bars() -> Iterator[weights.Progress]:
    """A bar for every file on its way; a line for what has no end that is known."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    # Where nobody looks on, rich would still end in an empty line.
    silent = not stderr.is_interactive
    with Progress(*columns, console=stderr, transient=True, disable=silent) as bars:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(escape(what), total=total or None, completed=done)
            bars.update(tasks[what], completed=done, total=total or None)

        yield show
