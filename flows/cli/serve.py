"""Commands around Prefect's server: up, down, ui."""

import os
import webbrowser

import typer

from catalog.lake import Lake
from flows.cli.common import JsonOption, LakeOption, console, emit
from flows.server import (
    ensure_server,
    server_status,
    start_serving,
    stop_server,
)
from infra.errors import UsageError
from infra.processes import lease_folder, reap_stale


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(up)
    app.command()(down)
    app.command()(ui)


def up(lake: LakeOption, as_json: JsonOption = False) -> None:
    """Start the lake's Prefect server, and the process that serves its flows to the UI."""
    root = Lake.open(lake, create=True).root
    reap_stale(lease_folder(root))
    api_url = ensure_server(root)
    start_serving(root, api_url)
    url = api_url.removesuffix("/api")
    if as_json:
        emit({"url": url, "api_url": api_url})
    else:
        console.print(f"Prefect is up at {url}; `limelight down` ends it")


def down(lake: LakeOption) -> None:
    """End the lake's Prefect server and the process that serves its flows."""
    was_running = stop_server(Lake.open(lake).root)
    console.print("stopped" if was_running else "it was not running")


def ui(lake: LakeOption) -> None:
    """Open Prefect's UI in a browser (and start the server, if need be)."""
    api_url = os.environ.get("PREFECT_API_URL")
    if api_url is None:
        up(lake)
        server = server_status(Lake.open(lake).root)
        if server is None:
            raise UsageError("the Prefect server ended again", hint="limelight up, then its log")
        api_url = server.api_url
    webbrowser.open(api_url.removesuffix("/api"))
