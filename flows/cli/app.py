"""The command's root: its groups, and how an error ends it."""

import sys

import typer

from flows import cli
from flows.cli import build, inspect, lake, serve
from flows.cli.common import console, errors

app = typer.Typer(
    name="limelight",
    help="From raw talking-head clips to a relightable-portrait dataset.",
    epilog=(cli.__doc__ or "").partition("\n\n")[2].replace("\n    ", "\n\n"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (build, inspect, lake, serve):
    module.register(app)


def main() -> None:
    """Run the command line and exit with its code."""
    with errors():
        app(prog_name="limelight")
    console.file.flush()
    sys.exit(0)
