"""The engine on a Ray that somebody else started."""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.processes import members

ROOT = Path(__file__).parents[1]
BEGIN = """
import os, sys
from infra.engine.base import Done, Item, Resources, WorkerSpec
from infra.engine.open import open_engine

with open_engine("ray") as engine:
    pool = engine.pool("echo", WorkerSpec("tests.engine_workers:Echo", {}), Resources())
    words = [r.value for r in pool.run([Item(w, w) for w in "abc"]) if isinstance(r, Done)]
    print("".join(sorted(words)), flush=True)
    if len(sys.argv) > 1:
        os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[dict[str, str], int]]:
    """A Ray head with a token: the environment that reaches it, and its session."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        # Port 0 lets Ray choose; it says in a file of its folder what it chose.
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            *("--port=0", "--num-cpus=2", "--include-dashboard=false"),
            *("--object-store-memory=100000000", f"--temp-dir={folder}"),
        ]
        head = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            environment["LIMELIGHT_RAY_ADDRESS"] = _address(head)
            yield environment, head.pid
        finally:
            for process in members(head.pid):
                process.kill()
            head.wait(30)


def _address(head: subprocess.Popen[str]) -> str:
    """Where a head says that it may be reached."""
    assert head.stdout is not None
    said = []
    for line in head.stdout:
        said.append(line)
        if "ray start --address=" in line:
            return line.split("--address=")[1].split("'")[1]
    raise AssertionError("".join(said))


def _build(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEGIN, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.ray
def test_engines_attach_to_a_running_ray_and_leave_it_standing_and_without_workers(cluster):
    environment, head = cluster
    done = _build(environment)
    assert (done.returncode, done.stdout) == (0, "ABC\n"), done.stderr
    # The second one finds it standing, and is killed.
    done = _build(environment, "die")
    assert (done.returncode, done.stdout) == (-9, "ABC\n"), done.stderr
    assert len(members(head)) > 1
    deadline = time.monotonic() + 60
    while _workers(head):
        assert time.monotonic() < deadline, _workers(head)
        time.sleep(0.2)


def _workers(session: int) -> list[str]:
    """Command lines of the engine's worker processes in a session."""
    lines = []
    for process in members(session):
        try:
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        except FileNotFoundError:
            continue
        if b"infra.engine.child" in words:
            lines.append(b" ".join(words).decode())
    return lines
