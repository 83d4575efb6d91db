"""The command's root: its groups, and how it ends."""

import atexit
import os
import sys

import typer

from flows import cli
from flows.cli import build, inspect, lake, serve
from flows.cli.common import errors
from flows.cli.driver import is_driver

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
    code = 1

    def leave() -> None:
        # Registered first, so called last: Prefect and Ray have written out what they hold.
        # Their threads live on, and the interpreter's teardown under them is noise at best.
        sys.stdout.flush()
        os._exit(code)

    if is_driver():
        atexit.register(leave)
    try:
        with errors():
            app(prog_name="limelight")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.exit(code)
