"""Starting, cancelling, killing and retrying builds, from the command line and Prefect's UI."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from catalog.lake import Lake
from catalog.release import Release
from flows.demo import gather_clips
from infra.processes import lease_folder
from tests.test_cli import answer, limelight, processes_about

pytestmark = [pytest.mark.ray, pytest.mark.prefect]
SECONDS = 120


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A lake with a running server and serving process, and beside it a portrait and clips."""
    home = tmp_path_factory.mktemp("control")
    gather_clips(home / "clips")
    (home / "portrait").mkdir()
    (home / "clips/hopper.mp4").rename(home / "portrait/hopper.mp4")
    with pytest.MonkeyPatch.context() as patch:
        # For builds here and in the serving process; a second worker would only load models.
        patch.setenv("LIMELIGHT_WORKERS", "1")
        up = answer(limelight, "up", lake=home / "lake")
        assert up["url"].startswith("http://127.0.0.1:")
        (home / "api").write_text(up["api_url"])
        yield home
        limelight("down", lake=home / "lake")


@pytest.fixture
def api(home):
    with httpx.Client(base_url=(home / "api").read_text(), timeout=30) as client:
        yield client


def start(home, name, source="clips"):
    """Start a build in the background, as a shell would."""
    command = [sys.executable, "-m", "flows.cli", "build", str(home / source), "--name", name]
    return subprocess.Popen(
        [*command, "--lake", str(home / "lake"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(happened, what):
    deadline = time.monotonic() + SECONDS
    while not (found := happened()):
        assert time.monotonic() < deadline, f"{what}: not within {SECONDS} s"
        time.sleep(0.2)
    return found


def run_of(api, name):
    """The latest flow run of a build, as Prefect's API tells it."""
    body = {"flow_runs": {"name": {"any_": [f"build {name}"]}}, "sort": "START_TIME_DESC"}
    runs = api.post("/flow_runs/filter", json=body).json()
    return runs[0] if runs else None


def state_of(api, name):
    run = run_of(api, name)
    return run["state"]["type"] if run else None


def artifacts_of(api, run):
    """Kinds of the artifacts that a flow run left."""
    artifacts = api.post("/artifacts/filter", json={"limit": 200}).json()
    return {artifact["type"] for artifact in artifacts if artifact["flow_run_id"] == run}


def at_work(home, api, name):
    """Wait until a build computes; its driver's pid."""
    wait_for(lambda: state_of(api, name) == "RUNNING", "the run")
    workers = f"{home / 'lake'}/tmp"

    def computing():
        return any(p.is_dir() for p in Path(workers).glob("*/" + "?" * 32))

    wait_for(computing, "work")
    (lease,) = lease_folder(home / "lake").glob("*.json")
    return json.loads(lease.read_text())["driver"]["pid"]


def ray_processes(session):
    """Living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.name())
        except (psutil.Error, ProcessLookupError):
            continue
    return found


def test_a_killed_driver_is_marked_crashed_and_retried_from_the_ui(home, api):
    command = start(home, "killed", "portrait")
    driver = at_work(home, api, "killed")
    os.kill(driver, signal.SIGKILL)
    command.communicate(timeout=SECONDS)
    assert command.returncode == 128 + signal.SIGKILL
    assert state_of(api, "killed") == "CRASHED"
    assert ray_processes(driver) == []
    run = run_of(api, "killed")
    state = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": False}
    assert api.post(f"/flow_runs/{run['id']}/set_state", json=state).is_success
    wait_for(lambda: state_of(api, "killed") == "COMPLETED", "the retry")
    assert run_of(api, "killed")["id"] == run["id"]
    assert {"progress", "table", "markdown"} <= artifacts_of(api, run["id"])
    assert limelight("verify", "killed", lake=home / "lake").returncode == 0


def test_a_build_started_in_the_ui_completes(home, api):
    deployment = api.get("/deployments/name/build-dataset/build").json()["id"]
    parameters = {
        "source": str(home / "portrait"),
        "name": "from-the-ui",
        "lake": str(home / "lake"),
    }
    created = api.post(
        f"/deployments/{deployment}/create_flow_run", json={"parameters": parameters}
    )
    assert created.is_success, created.text
    wait_for(lambda: state_of(api, "from-the-ui") == "COMPLETED", "the run")
    assert "markdown" in artifacts_of(api, run_of(api, "from-the-ui")["id"])


def test_a_second_build_computes_nothing_and_a_rerun_one_stage_of_one_clip(home):
    lake, name = home / "lake", "from-the-ui"
    first = Release.open(Lake.open(lake), name).digest
    again = answer(limelight, "build", home / "portrait", "--name", name, lake=lake)
    assert (again["computed"], again["digest"]) == ({}, first)
    where = "clip in (select clip from members where label = 'hopper.mp4')"
    chosen = ("--stage", "matting", "--only", "all", "--where", where)
    rerun = answer(limelight, "rerun", name, *chosen, lake=lake)
    assert (rerun["computed"], rerun["digest"]) == ({"matting": 1}, first)


def test_ctrl_c_cancels_the_run_and_leaves_no_process(home, api):
    command = start(home, "interrupted")
    driver = at_work(home, api, "interrupted")
    command.send_signal(signal.SIGINT)
    _, stderr = command.communicate(timeout=SECONDS)
    assert command.returncode == 130, stderr
    assert state_of(api, "interrupted") == "CANCELLED"
    assert ray_processes(driver) == []


def test_cancelling_in_the_ui_stops_a_run_of_the_command_line(home, api):
    command = start(home, "cancelled")
    driver = at_work(home, api, "cancelled")
    run = run_of(api, "cancelled")
    state = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
    assert api.post(f"/flow_runs/{run['id']}/set_state", json=state).is_success
    _, stderr = command.communicate(timeout=SECONDS)
    assert command.returncode == 130, stderr
    assert state_of(api, "cancelled") == "CANCELLED"
    assert ray_processes(driver) == []


def test_the_deployments_parameters_are_typed(api):
    schema = api.get("/deployments/name/build-dataset/build").json()["parameter_openapi_schema"]
    quality = schema["definitions"]["QualityConfig"]["properties"]["threshold"]
    assert (quality["minimum"], quality["maximum"]) == (0, 1)
    assert quality["description"]


def test_down_stops_all_that_serves_the_lake(home):
    assert limelight("down", lake=home / "lake").stdout == "stopped\n"
    assert processes_about(home / "lake") == []
