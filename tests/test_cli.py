"""The command line as a user meets it: real Prefect, real Ray, the demo's real clips."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows.cli.app import main
from tests.browser import screenshot

pytestmark = [pytest.mark.ray, pytest.mark.prefect, pytest.mark.timeout(600)]


def limelight(*arguments, lake=None, timeout=240, **environment):
    """Run the command; its end, with output as text."""
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    if lake is not None:
        command += ["--lake", str(lake)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **environment},
    )


def answer(run, *arguments, lake=None):
    """The JSON document that a command prints."""
    done = run(*arguments, "--json", lake=lake)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def here(monkeypatch, capsys):
    """`limelight` in this process: for commands that leave nothing in it, and start faster so."""

    def run(*arguments, lake=None):
        words = ["limelight", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words + (["--lake", str(lake)] if lake else []))
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        output, errors = capsys.readouterr()
        return subprocess.CompletedProcess(words, end.value.code, output, errors)

    return run


def processes_about(lake):
    """Living processes that have the lake in their command line or as working folder."""
    found = []
    for process in psutil.process_iter():
        try:
            told = " ".join(process.cmdline()) + " " + process.cwd()
        except psutil.Error:
            continue
        if str(lake) in told and process.pid != os.getpid():
            found.append(told)
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What `limelight demo --json` says, cut short in training and relighting; and its lake."""
    lake = tmp_path_factory.mktemp("demo") / "lake"
    done = limelight("demo", "--steps", "8", "--frames", "6", "--json", lake=lake, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), lake


def test_the_demo_keeps_the_portraits_and_says_why_it_turns_the_others_down(demo):
    summary, _ = demo
    assert summary["verdicts"] == {"done": 3, "rejected": 3}
    stages = {row["label"]: row["stage"] for row in summary["turned_down"]}
    assert stages == {
        "carphone_distorted.mp4": "quality",
        "bikes.mp4": "landmarks",
        "bigbuckbunny.mp4": "landmarks",
    }


def test_the_demo_leaves_no_process_behind(demo):
    _, lake = demo
    assert processes_about(lake) == []


def test_the_preview_shows_every_clip_in_a_real_browser(demo, tmp_path):
    summary, _ = demo
    for width in (1280, 400):
        page = screenshot(Path(summary["preview"]), tmp_path / f"{width}.png", width)
        assert page.scroll_width <= width
        assert page.articles == 6
        assert page.broken_images == 0


def test_the_demo_trains_a_model_and_another_light_changes_the_face_and_not_the_ground(here, demo):
    summary, lake = demo
    assert summary["run"]["state"] == "finished"
    assert answer(here, "runs", lake=lake)[0]["model"] == summary["run"]["model"]
    assert len(summary["films"]) == 2
    assert all(Path(film).is_file() for film in summary["films"].values())
    change = summary["change"]
    # After eight steps the light does little; what there is of it must not be on the ground.
    assert change["portrait"] > 2 * change["ground"]


def test_the_page_of_the_demos_training_fits_a_real_browser(demo, tmp_path):
    summary, _ = demo
    for width in (1280, 400):
        page = screenshot(Path(summary["page"]), tmp_path / f"{width}.png", width)
        assert page.scroll_width <= width
        assert page.broken_images == 0


def test_the_demo_judges_its_model_beside_methods_that_learn_nothing(here, demo):
    summary, lake = demo
    judged = summary["run"]["benchmark"]
    record = json.loads(Path(judged["record"]).read_text())
    done = {cell["method"] for cell in record["cells"] if cell["outcome"] == "done"}
    assert {"copy", "ratio", "lcvd"} <= done
    assert done.isdisjoint(judged["unavailable"])
    (row,) = answer(here, "benchmark", "ls", lake=lake)["benchmarks"]
    assert (row["protocol"], row["films"]) == ("demo", 3 * len(done))


def test_the_demos_benchmark_compares_with_itself_and_reports_again(here, demo):
    summary, lake = demo
    name = summary["run"]["benchmark"]["name"]
    held = answer(here, "benchmark", "compare", name, name, lake=lake)
    assert held["changes"]
    assert not held["regressed"]
    page = Path(summary["run"]["benchmark"]["page"])
    before = page.read_bytes()
    assert answer(here, "benchmark", "report", name, lake=lake)["page"] == str(page)
    assert page.read_bytes() == before


def test_the_report_of_the_demos_benchmark_fits_a_real_browser(demo, tmp_path):
    summary, _ = demo
    page = Path(summary["run"]["benchmark"]["page"])
    for width in (1280, 400):
        shown = screenshot(page, tmp_path / f"{width}.png", width)
        assert shown.scroll_width <= width
        assert shown.broken_images == 0


def test_a_benchmark_is_checked_without_running_it(here, demo):
    _, lake = demo
    chosen = ("--release", "demo", "--set", "source.split=val")
    told = answer(here, "benchmark", "validate", "demo", *chosen, lake=lake)
    assert (told["clips"], told["cases"]) == (1, 3)
    assert {row["method"] for row in told["methods"]} == {"copy", "ratio", "dpr", "lcvd"}
    empty = here("benchmark", "validate", "demo", "--release", "demo", lake=lake)
    assert empty.returncode == 2
    assert "train 2, val 1: source.split=val" in empty.stderr
    mistyped = here("benchmark", "run", "demo", *chosen, "--method", "copi", lake=lake)
    assert mistyped.returncode == 2
    assert "copi" in mistyped.stderr
    assert "Traceback" not in mistyped.stderr
    refused = here("benchmark", "validate", "demo", "--release", "nobody", lake=lake)
    assert refused.returncode == 2
    assert "nobody" in refused.stderr


def test_a_release_verifies_until_a_byte_is_flipped(here, demo):
    summary, lake = demo
    assert answer(here, "verify", "demo", lake=lake)["problems"] == []
    shard = next(Path(summary["path"]).rglob("*.tar"))
    mode = shard.stat().st_mode
    shard.chmod(0o644)
    with shard.open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    done = here("verify", "demo", lake=lake)
    assert done.returncode == 7
    assert shard.name in done.stderr
    with shard.open("r+b") as file:
        file.seek(5000)
        file.write(byte)
    shard.chmod(mode)
    assert here("verify", "demo", lake=lake).returncode == 0


def test_status_counts_each_stage(here, demo):
    _, lake = demo
    (status,) = answer(here, "status", "demo", lake=lake)
    assert status["clips"] == 6
    rows = {row["stage"]: row for row in status["stages"]}
    assert (rows["quality"]["done"], rows["quality"]["rejected"]) == (5, 1)
    assert (rows["matting"]["done"], rows["matting"]["not reached"]) == (3, 3)


def test_query_answers_in_sql(here, demo):
    _, lake = demo
    rows = answer(here, "query", "select status, count(*) n from outcomes group by all", lake=lake)
    assert {row["status"]: row["n"] for row in rows}["rejected"] == 3


def test_wrong_sql_names_the_tables(here, demo):
    _, lake = demo
    done = here("query", "select * from nothing", lake=lake)
    assert done.returncode == 2
    assert "outcomes" in done.stderr


def test_export_in_lcvds_layout_points_at_the_video(here, demo, tmp_path):
    _, lake = demo
    done = here("export", "demo", "--layout", "talkinghead", "--out", tmp_path / "out", lake=lake)
    assert done.returncode == 0, done.stderr
    (listing,) = (tmp_path / "out").rglob("*-data-consistent.json")
    entries = json.loads(listing.read_text())
    assert len(entries) == 3
    for entry in entries:
        assert set(entry) == {"video_path", "kps_path", "light_path", "mask_path"}
        assert "-video/" in entry["video_path"]


def test_doctor_and_weights_report(here, demo):
    _, lake = demo
    findings = {finding["what"]: finding["state"] for finding in answer(here, "doctor", lake=lake)}
    assert findings["packages"] == "good"
    assert findings["weights"] == "good"
    weights = {row["name"]: row for row in answer(here, "weights", "list")}
    assert weights["face_landmark"]["state"] == "present"
    assert weights["face_landmark"]["licence"] == "Apache-2.0"
    assert here("weights", "verify").returncode == 0


def test_sweep_finds_nothing_that_is_needed(here, demo):
    _, lake = demo
    assert here("sweep", "--hours", "0", lake=lake).returncode == 0
    assert here("verify", "demo", lake=lake).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["build", "clips"], 2, "no name was given"),
        (["build", "--name", "x"], 2, "no source was given"),
        (["build", "nowhere", "--name", "x"], 2, "there is no"),
        (["build", "clips", "--name", "a/b"], 2, "cannot name a release"),
        (["build", "clips", "--name", "x", "--config", "none.toml"], 2, "cannot read the config"),
        (["build", "clips", "--name", "x", "--backend", "spark"], 2, "allowed are ray and inline"),
        (["status", "nothing"], 3, "is no lake"),
        (["fly"], 2, "No such command"),
    ],
)
def test_a_wrong_command_ends_with_its_code_and_a_way_out(
    here, tmp_path, monkeypatch, arguments, code, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    lake = tmp_path / "lake" if arguments[0] != "fly" else None
    done = here(*arguments, lake=lake)
    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [[], ["build"], ["quarantine"], ["weights", "pull"], ["schedule", "build"], ["query"]],
)
def test_help_is_everywhere(here, command):
    done = here(*command, "--help")
    assert done.returncode == 0
    assert "Usage: limelight" in done.stdout
