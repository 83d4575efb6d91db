"""The embedded Prefect server: one loopback server on SQLite for each lake.

Nothing here imports Prefect, so that the command line can start the server first, put
:func:`client_environment` into its own environment, and only then import a flow: Prefect
reads its settings while it is imported.
"""

import http.client
import os
import socket
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.parse import urlsplit

from flows.daemon import Daemon
from infra.errors import EngineError

HOST = "127.0.0.1"
PORTS = range(4200, 5000)
"""Below the ports that the system, and Ray, hand out at random while the server starts."""

HEARTBEAT_SECONDS = 30
"""How often a run says that it lives; Prefect allows no less."""

BUILD_DEPLOYMENT = "build"
TRAIN_DEPLOYMENT = "train"
BENCHMARK_DEPLOYMENT = "benchmark"
SERVED: Mapping[str, str] = {
    BUILD_DEPLOYMENT: "flows.build.build_dataset",
    TRAIN_DEPLOYMENT: "flows.train.train_model",
    BENCHMARK_DEPLOYMENT: "flows.benchmark.benchmark_methods",
}
"""Importable paths of the flows that the UI offers, by the names of their deployments."""

_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


@dataclass(frozen=True)
class Server:
    """A running embedded server.

    Attributes:
        url: Where a browser finds the UI.
        pid: Its process, which leads a session of its own.
        home: ``PREFECT_HOME``: database, logs and records, inside the lake.
    """

    url: str
    pid: int
    home: Path

    @property
    def api_url(self) -> str:
        """What ``PREFECT_API_URL`` has to be to reach it."""
        return f"{self.url}/api"

    def healthy(self) -> bool:
        """Whether it answers."""
        return _healthy(self.api_url)


def ensure_server(lake: Path, *, timeout: float = 120.0) -> str:
    """The URL of a healthy Prefect API for this lake, starting a server if there is none.

    With ``PREFECT_API_URL`` in the environment that server is used, and nothing is started.

    Args:
        lake: Root folder of the lake.
        timeout: Seconds to wait for health.

    Raises:
        LakeError: The lake cannot be written.
        EngineError: The server ended, or was not healthy in time.
    """
    if api_url := os.environ.get("PREFECT_API_URL"):
        return api_url
    starting = start_server(lake)
    deadline = time.monotonic() + timeout
    while True:
        server = server_status(lake)
        if server is not None and server.healthy():
            return server.api_url
        if server is None and (starting is None or starting.poll() is not None):
            raise _failure(lake, "ended while it was starting")
        if time.monotonic() > deadline:
            raise _failure(lake, f"is not healthy after {timeout:.0f} s")
        time.sleep(0.05)


def start_server(lake: Path) -> Popen[bytes] | None:
    """Begin to start the lake's server, so that its start overlaps with other work.

    Call :func:`ensure_server` when it is needed.

    Returns:
        The process started, or None where there is nothing to start.

    Raises:
        LakeError: The lake cannot be written.
    """
    daemon = _daemon(lake)
    if os.environ.get("PREFECT_API_URL") or daemon.running():
        return None
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    return daemon.start(__name__, environment=environment)


def start_serving(lake: Path, api_url: str, *, served: Mapping[str, str] = SERVED) -> None:
    """Start, unless it runs, the process behind the UI's 'Run' and 'Retry' buttons.

    Args:
        lake: Root folder of the lake.
        api_url: Of the Prefect server that the deployments are registered with.
        served: Importable paths of the flows that it serves, by the names of their deployments.
    """
    daemon = _daemon(lake, "serving")
    if not daemon.running():
        environment = {**os.environ, **client_environment(lake, api_url)}
        pairs = [f"{deployment}={flow}" for deployment, flow in served.items()]
        daemon.start("flows.serving", *pairs, environment=environment)


def stop_server(lake: Path) -> bool:
    """Stop what serves this lake's deployments, then its server, leaving no process.

    Returns:
        Whether the server was running.
    """
    _daemon(lake, "serving").stop()
    return _daemon(lake).stop()


def server_status(lake: Path) -> Server | None:
    """The lake's own server, healthy or not, or None if it does not run.

    Raises:
        EngineError: It runs on another machine that shares the lake.
    """
    facts = _daemon(lake).running()
    if facts is None:
        return None
    if facts["host"] != socket.gethostname():
        raise EngineError(
            f"the Prefect server of this lake runs on {facts['host']}, out of reach from here",
            hint="stop it there, or set PREFECT_API_URL to a server that both machines reach",
        )
    return Server(url=f"http://{HOST}:{facts['port']}", pid=facts["pid"], home=_home(lake))


def client_environment(lake: Path, api_url: str) -> dict[str, str]:
    """What a process needs in its environment, before it imports Prefect, to use ``api_url``."""
    environment = {
        "PREFECT_API_URL": api_url,
        "DO_NOT_TRACK": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    }
    server = server_status(lake)
    if server is not None and server.api_url == api_url:
        # A server of the user's own may need the key that lies in the user's own home.
        environment["PREFECT_HOME"] = str(server.home)
        # Both spellings are read, by different libraries, and a proxy cannot reach loopback.
        for name in ("NO_PROXY", "no_proxy"):
            others = os.environ.get(name)
            environment[name] = f"{others},{HOST}" if others else HOST
    return environment


def _home(lake: Path) -> Path:
    return lake.absolute() / "prefect"


def _daemon(lake: Path, name: str = "server") -> Daemon:
    return Daemon(_home(lake), name)


def _healthy(api_url: str) -> bool:
    # Straight to the socket: urllib would ask the proxy named in the environment.
    parts = urlsplit(api_url)
    connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=5)
    try:
        connection.request("GET", f"{parts.path}/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _failure(lake: Path, what: str) -> EngineError:
    daemon = _daemon(lake)
    return EngineError(
        f"the Prefect server of this lake {what}; the end of {daemon.log}:\n{daemon.tail()}",
        hint="run `limelight down`, then the same command again",
    )


def _free_port(home: Path) -> int:
    """A free port, the same again for the same lake wherever possible."""
    first = zlib.crc32(os.fsencode(home)) % len(PORTS)
    for port in (*PORTS[first:], *PORTS[:first]):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((HOST, port))
            except OSError:
                continue
            return port
    raise SystemExit(f"no free port between {PORTS.start} and {PORTS.stop - 1}")


def _server_environment(home: Path, port: int) -> dict[str, str]:
    return {
        **_QUIET,
        "PREFECT_HOME": str(home),
        # Relative to the working folder: a lake may have any name, a database URL may not.
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": os.environ.get(
            "PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:///prefect.db"
        ),
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        # Relative as well, so that the UI works through a forwarded port.
        "PREFECT_SERVER_UI_API_URL": "/api",
        # No page of another site may steer the server through the user's browser.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port}",
    }


def _become_server() -> None:
    """Turn this process, started in the lake's Prefect home, into its Prefect server."""
    home = Path.cwd()
    port = _free_port(home)
    Daemon(home, "server").claim(port=port)
    environment: Mapping[str, Any] = {**os.environ, **_server_environment(home, port)}
    command = [sys.executable, "-m", "prefect", "server", "start"]
    os.execve(sys.executable, command, environment)


if __name__ == "__main__":
    _become_server()
