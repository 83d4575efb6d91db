"""The command's root: its groups, and how it ends."""

import sys

import typer

from flows import cli
from flows.cli import benchmark, build, demo, inspect, lake, relight, serve, study, train, weights
from flows.cli.common import errors
from flows.cli.driver import is_driver
from infra.processes import quiet_teardown

app = typer.Typer(
    name="limelight",
    help="From raw talking-head clips to a relightable-portrait dataset.",
    epilog=(cli.__doc__ or "").partition("\n\n")[2].replace("\n    ", "\n\n"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (demo, build, train, relight, benchmark, study, inspect, lake, serve, weights):
    module.register(app)


def main() -> None:
    """Run the command line and exit with its code."""
    if is_driver():
        quiet_teardown()
    with errors():
        app(prog_name="limelight")
    sys.exit(0)
