"""The engine on a real Ray: poisoned items, impossible requests, and what is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.engine.base import Done, Engine, Item, Lost, Resources, Result, WorkerSpec
from infra.engine.open import open_engine
from infra.errors import EngineError, LakeError, WeightsError
from infra.processes import Process, members
from infra.settings import Settings

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

DEADLINE = 2.0
ECHO = "tests.engine_workers:Echo"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with open_engine("ray", Settings(workers=2, start_seconds=60)) as engine:
        yield engine


@pytest.fixture(scope="module")
def results(engine: Engine) -> dict[str, Result]:
    """Twelve items on two busy workers, five of them poisoned."""
    spec = WorkerSpec(ECHO, {"seconds": 0.1})
    pool = engine.pool("poison", spec, Resources(num_cpus=0.5, memory_bytes=200 << 20), 2)
    poison = {2: "segfault", 4: "leave", 5: "leak", 7: "complain", 8: "hang"}
    payloads = [f"{poison.get(n, 'clip')}:{n}" for n in range(12)]
    items = [Item(payload, payload, deadline=DEADLINE) for payload in payloads]
    collected = list(pool.run(items))
    assert len(collected) == len(items)
    return {result.id: result for result in collected}


def test_the_innocent_are_all_done(results: dict[str, Result]) -> None:
    done = {id: result for id, result in results.items() if isinstance(result, Done)}
    assert sorted(done) == sorted(f"clip:{n}" for n in (0, 1, 3, 6, 9, 10, 11))
    assert all(result.value == id.upper() for id, result in done.items())
    assert all(result.attempts == 1 for result in done.values())


@pytest.mark.parametrize(
    ("id", "kind", "error", "stderr"),
    [
        ("segfault:2", "died", "SIGSEGV", "Segmentation fault"),
        ("leave:4", "died", "exit 3", "about to leave"),
        ("leak:5", "memory", "MemoryError", "in leak"),
        ("complain:7", "raised", "ValueError", "ValueError: cannot stand complain"),
        ("hang:8", "hung", "Timeout", "in hang"),
    ],
)
def test_the_guilty_are_lost_with_their_last_words(
    results: dict[str, Result], id: str, kind: str, error: str, stderr: str
) -> None:
    lost = results[id]
    assert isinstance(lost, Lost)
    assert (lost.kind, lost.error, lost.attempts) == (kind, error, 2)
    assert f"about to {id.partition(':')[0]}" in lost.stderr
    assert stderr in lost.stderr
    assert lost.note == f"tasting {id}"
    assert lost.worker.startswith("poison-")


def test_two_threads_share_the_workers_of_a_pool(engine: Engine) -> None:
    pool = engine.pool("shared", WorkerSpec(ECHO), Resources(num_cpus=0.25), 2)
    done: dict[str, set[str]] = {}

    def partition(name: str) -> None:
        items = [Item(f"{name}{n}", f"{name}{n}") for n in range(30)]
        done[name] = {result.id for result in pool.run(items) if isinstance(result, Done)}

    threads = [threading.Thread(target=partition, args=(name,)) for name in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == {name: {f"{name}{n}" for n in range(30)} for name in "xy"}


def test_a_pool_that_needs_the_cores_of_an_idle_one_gets_them(engine: Engine) -> None:
    for name in ("first", "second"):
        pool = engine.pool(name, WorkerSpec(ECHO, {"seconds": 0.05}), Resources(), None)
        results = list(pool.run([Item(str(n), str(n)) for n in range(8)]))
        assert all(isinstance(result, Done) for result in results)


@pytest.mark.parametrize(
    ("resources", "size", "words"),
    [
        (Resources(num_gpus=512), None, "512 GPU"),
        (Resources(custom={"decoder": 1}), None, "1 decoder"),
        (Resources(num_cpus=0.5), 4096, "4096 worker"),
    ],
)
def test_an_impossible_request_is_an_error_at_once(
    engine: Engine, resources: Resources, size: int | None, words: str
) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        engine.pool(f"greedy {words}", WorkerSpec(ECHO), resources, size)
    assert "CPU" in str(caught.value)


def test_a_lake_error_ends_the_run(engine: Engine) -> None:
    pool = engine.pool("lake", WorkerSpec(ECHO), Resources(num_cpus=0.25), 1)
    with pytest.raises(LakeError, match="full"):
        list(pool.run([Item("a", "a"), Item("b", "fill_disk"), Item("c", "hang")]))


def test_a_missing_weight_is_an_error_at_once(engine: Engine) -> None:
    spec = WorkerSpec("tests.engine_workers:weightless")
    pool = engine.pool("weightless", spec, Resources(num_cpus=0.25), 1)
    with pytest.raises(WeightsError, match="u2net") as caught:
        list(pool.run([Item("a", "a")]))
    assert caught.value.hint == "limelight weights pull u2net"


def test_cancelling_kills_what_is_in_flight(engine: Engine, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    spec = WorkerSpec(ECHO, {"journal": str(journal)})
    pool = engine.pool("cancelled", spec, Resources(num_cpus=0.25), 1)
    assert list(pool.run([Item("hang", "hang")], cancelled=journal.exists)) == []
    pid = int(journal.read_text().split()[1])
    assert gone(pid, within=60.0)


def test_a_killed_actor_costs_nothing_but_time(engine: Engine, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    spec = WorkerSpec(ECHO, {"journal": str(journal), "seconds": 1.0})
    pool = engine.pool("killed", spec, Resources(num_cpus=0.25), 1)

    def kill_its_host() -> None:
        while not journal.exists() or not journal.read_text():
            time.sleep(0.05)
        worker = int(journal.read_text().split()[1])
        stat = Path(f"/proc/{worker}/stat").read_text()
        os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill_its_host)
    killer.start()
    [result] = pool.run([Item("a", "a")])
    killer.join()
    assert isinstance(result, Done)
    assert journal.read_text().count("a ") == 2


DRIVER = """
from infra.engine.base import Item, Resources, WorkerSpec
from infra.engine.open import open_engine
from infra.settings import Settings

with open_engine("ray", Settings(workers=2)) as engine:
    pool = engine.pool("p", WorkerSpec("tests.engine_workers:Echo"), Resources(), None)
    for result in pool.run([Item("a", "a")] + [Item(str(n), "hang") for n in range(2)]):
        print(result.id, flush=True)
"""

SUPERVISOR = """
import sys
from pathlib import Path
from infra.processes import run_in_session

sys.exit(run_in_session([sys.executable, "-c", sys.argv[1]], leases=Path(sys.argv[2])))
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_its_driver(tmp_path: Path, sign: signal.Signals) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, DRIVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert supervisor.stdout
    assert supervisor.stdout.readline() == "a\n"
    [lease] = tmp_path.glob("*.json")
    session = int(lease.stem)
    assert len(members(session)) > 5
    os.kill(session, sign)
    _, stderr = supervisor.communicate(timeout=60)
    assert members(session) == []
    assert not list(tmp_path.iterdir())
    if sign == signal.SIGKILL:
        assert supervisor.returncode == 128 + signal.SIGKILL
    else:
        assert supervisor.returncode == 128 + signal.SIGTERM
        assert stderr == ""


def gone(pid: int, within: float) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        if Process.find(pid) is None:
            return True
        time.sleep(0.05)
    return False
