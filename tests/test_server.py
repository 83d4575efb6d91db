"""The embedded Prefect server and the background processes of a lake."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows import server
from flows.daemon import Daemon
from infra.errors import EngineError, LakeError

ROOT = Path(__file__).parents[1]


def wait_until(happened: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def processes_in(folder: Path) -> list[psutil.Process]:
    """Live processes that work in ``folder``, as everything a daemon starts does."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == folder:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, "sleeper")
    yield daemon
    daemon.stop(grace=1)


def start(daemon: Daemon) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return daemon.start("tests.daemon_sleeper", environment=environment)


def test_of_two_daemons_started_at_once_one_gives_way(sleeper: Daemon) -> None:
    first, second = start(sleeper), start(sleeper)
    wait_until(lambda: first.poll() is not None or second.poll() is not None)
    facts = sleeper.running()
    assert facts is not None
    survivor = second if first.poll() is not None else first
    assert facts["pid"] == survivor.pid
    assert facts["colour"] == "green"


def test_a_killed_daemon_is_not_mistaken_for_a_running_one(sleeper: Daemon) -> None:
    process = start(sleeper)
    wait_until(sleeper.running)
    process.kill()
    process.wait()
    assert sleeper.record.exists()
    assert sleeper.running() is None


def test_stop_ends_the_children_of_a_daemon_too(sleeper: Daemon) -> None:
    start(sleeper)
    wait_until((sleeper.home / "has-child").exists)
    assert len(processes_in(sleeper.home)) == 2
    assert sleeper.stop()
    wait_until(lambda: not processes_in(sleeper.home))
    assert not sleeper.stop()


def test_a_daemon_is_not_struck_by_a_fault_meant_for_the_command(sleeper: Daemon) -> None:
    environment = {"PATH": os.environ["PATH"], "LIMELIGHT_FAULT": "kill@x"}
    process = sleeper.start(
        "tests.daemon_sleeper", environment={**environment, "PYTHONPATH": str(ROOT)}
    )
    wait_until(sleeper.running)
    assert "LIMELIGHT_FAULT" not in psutil.Process(process.pid).environ()


def test_an_api_url_in_the_environment_is_used_and_nothing_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example/api")
    assert server.start_server(tmp_path) is None
    assert server.ensure_server(tmp_path) == "http://prefect.example/api"
    assert list(tmp_path.iterdir()) == []
    environment = server.client_environment(tmp_path, "http://prefect.example/api")
    assert "PREFECT_HOME" not in environment


def test_a_read_only_lake_is_a_lake_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(LakeError, match="read-only"):
        server.ensure_server(tmp_path)


def test_a_server_elsewhere_on_a_shared_lake_is_an_error_that_names_it(
    sleeper: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(sleeper)
    wait_until(sleeper.running)
    sleeper.record.write_text(json.dumps({"pid": 1, "host": "elsewhere", "port": 4200}))
    monkeypatch.setattr(server, "_daemon", lambda lake, name="server": sleeper)
    with pytest.raises(EngineError, match="elsewhere"):
        server.server_status(sleeper.home)
    with pytest.raises(EngineError, match="elsewhere"):
        sleeper.stop()
    sleeper.record.write_text(json.dumps(_own_record(sleeper)))


def _own_record(sleeper: Daemon) -> dict[str, object]:
    (leader,) = [p for p in processes_in(sleeper.home) if os.getsid(p.pid) == p.pid]
    return {"pid": leader.pid, "host": os.uname().nodename}


@pytest.mark.prefect
def test_a_server_that_cannot_start_is_an_error_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "prefect.db").write_text("no database, whatever its name says. " * 99)
    with pytest.raises(EngineError, match="file is not a database"):
        server.ensure_server(tmp_path)


@pytest.mark.prefect
def test_one_healthy_server_stands_though_two_were_started(prefect_server: server.Server) -> None:
    assert prefect_server.healthy()
    leaders = [p for p in processes_in(prefect_server.home) if p.pid == os.getsid(p.pid)]
    assert prefect_server.pid in [p.pid for p in leaders]
    assert sum("prefect" in p.cmdline() and "server" in p.cmdline() for p in leaders) == 1


@pytest.mark.prefect
def test_a_running_server_is_reused(
    prefect_server: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    lake = prefect_server.home.parent
    assert server.ensure_server(lake) == prefect_server.api_url
    assert server.server_status(lake) == prefect_server


@pytest.mark.prefect
def test_the_user_interface_asks_the_port_that_it_came_from(prefect_server: server.Server) -> None:
    with urllib.request.urlopen(f"{prefect_server.url}/ui-settings", timeout=10) as answer:
        assert json.load(answer)["api_url"] == "/api"


@pytest.mark.prefect
def test_the_database_lies_in_the_lake_whatever_its_name(prefect_server: server.Server) -> None:
    assert "%41" in prefect_server.home.parent.name
    assert (prefect_server.home / "prefect.db").stat().st_size > 0


@pytest.mark.prefect
def test_a_stopped_server_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert not server.stop_server(tmp_path)
    process = server.start_server(tmp_path)
    assert process is not None
    wait_until(lambda: server.server_status(tmp_path))
    wait_until(lambda: "prefect" in psutil.Process(process.pid).cmdline())
    assert server.stop_server(tmp_path)
    wait_until(lambda: not processes_in(tmp_path / "prefect"))
    assert process.wait(60) in (-signal.SIGTERM, 0)
    assert server.server_status(tmp_path) is None


def test_each_lake_has_a_port_of_its_own_below_the_random_ones(tmp_path: Path) -> None:
    ports = {server._free_port(tmp_path / str(n)) for n in range(20)}
    assert len(ports) > 10
    assert all(port in server.PORTS for port in ports)
    assert server._free_port(tmp_path) == server._free_port(tmp_path)


def test_importing_the_server_module_does_not_import_prefect() -> None:
    program = "import sys, flows.server; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
